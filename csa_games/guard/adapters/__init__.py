"""What hosts send to a guard and take as its answer: one module for each kind of host."""
