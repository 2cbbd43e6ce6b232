"""ML-KEM-768 key generation in plain Python (FIPS 203).

The `cryptography` package keeps a private key as its 64-byte seed and does not give the expanded
decapsulation key. Others take only that form, so the vectors name both. Nothing here runs in
constant time: it is for test vectors alone.
"""

import hashlib

Q = 3329
N = 256
K = 3
SEED_SIZE = 64
EK_SIZE = 384 * K + 32
DK_SIZE = 768 * K + 96


def _bit_reverse_7(value):
    return int(f"{value:07b}"[::-1], 2)


ZETAS = [pow(17, _bit_reverse_7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _bit_reverse_7(i) + 1, Q) for i in range(128)]


def _sample_ntt(seed):
    """SampleNTT (algorithm 7): a uniform polynomial in the NTT domain."""
    # SHAKE has no squeeze in hashlib; ask for more until the rejections are covered.
    size = 3 * 280
    while True:
        stream = hashlib.shake_128(seed).digest(size)
        out = []
        for at in range(0, size, 3):
            a, b, c = stream[at:at + 3]
            for candidate in (a | (b & 0x0F) << 8, b >> 4 | c << 4):
                if candidate < Q and len(out) < N:
                    out.append(candidate)
        if len(out) == N:
            return out
        size *= 2


def _sample_cbd2(stream):
    """SamplePolyCBD (algorithm 8) with eta = 2: four bits make one coefficient."""
    out = []
    for byte in stream:
        for nibble in (byte & 0x0F, byte >> 4):
            plus = (nibble & 1) + (nibble >> 1 & 1)
            minus = (nibble >> 2 & 1) + (nibble >> 3 & 1)
            out.append((plus - minus) % Q)
    return out


def _ntt(poly):
    """NTT (algorithm 9)."""
    f = list(poly)
    i = 1
    length = 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta = ZETAS[i]
            i += 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        length //= 2
    return f


def _multiply_ntts(f, g):
    """MultiplyNTTs (algorithms 11 and 12)."""
    out = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out.append((a0 * b0 + a1 * b1 * gamma) % Q)
        out.append((a0 * b1 + a1 * b0) % Q)
    return out


def _byte_encode_12(poly):
    """ByteEncode (algorithm 5) with d = 12: two coefficients in three bytes."""
    out = bytearray()
    for at in range(0, N, 2):
        out += (poly[at] | poly[at + 1] << 12).to_bytes(3, "little")
    return bytes(out)


def expand(seed):
    """ML-KEM.KeyGen_internal (algorithm 16) of d || z: encapsulation and decapsulation key."""
    if len(seed) != SEED_SIZE:
        raise ValueError(f"an ML-KEM seed has {SEED_SIZE} bytes, not {len(seed)}")
    d, z = seed[:32], seed[32:]
    expanded = hashlib.sha3_512(d + bytes([K])).digest()
    rho, sigma = expanded[:32], expanded[32:]

    def noise(counter):
        stream = hashlib.shake_256(sigma + bytes([counter])).digest(64 * 2)
        return _ntt(_sample_cbd2(stream))

    secret = [noise(i) for i in range(K)]
    error = [noise(K + i) for i in range(K)]
    public = []
    for i in range(K):
        row = error[i]
        for j in range(K):
            product = _multiply_ntts(_sample_ntt(rho + bytes([j, i])), secret[j])
            row = [(a + b) % Q for a, b in zip(row, product)]
        public.append(row)

    ek = b"".join(map(_byte_encode_12, public)) + rho
    dk = b"".join(map(_byte_encode_12, secret)) + ek + hashlib.sha3_256(ek).digest() + z
    assert len(ek) == EK_SIZE and len(dk) == DK_SIZE
    return ek, dk
