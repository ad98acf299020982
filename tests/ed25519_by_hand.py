"""Ed25519 as RFC 8032, section 5.1, states it: whole numbers and SHA-512, slow and obvious."""

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
BASE_Y = 4 * pow(5, -1, P) % P


def root(square: int, odd: int) -> int:
    """Return the x with x² = square whose lowest bit is `odd`; ValueError where there is none."""
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and odd):
        raise ValueError("not a square")
    return P - x if x & 1 != odd else x


def lift(y: int, odd: int) -> tuple[int, int]:
    return root((y * y - 1) * pow(D * y * y + 1, -1, P) % P, odd), y


BASE = lift(BASE_Y, 0)


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = a, b
    c = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + c, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - c, -1, P) % P,
    )


def times(n: int, point: tuple[int, int]) -> tuple[int, int]:
    total = (0, 1)
    while n:
        if n & 1:
            total = add(total, point)
        point, n = add(point, point), n >> 1
    return total


def decode(data: bytes) -> tuple[int, int]:
    number = int.from_bytes(data, "little")
    return lift(number & (2**255 - 1), number >> 255)


def holds(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether S·B = R + k·A with k = SHA-512(R, A, message)."""
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % ORDER
    return s < ORDER and times(s, BASE) == add(decode(r), times(k, decode(public)))
