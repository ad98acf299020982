"""How fast a guard opens a bundle and decides, and how much memory it holds, in one process."""
