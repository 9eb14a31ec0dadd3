// SPDX-License-Identifier: MIT
/*
 * Random numbers that depend on the seed and on nothing else.
 *
 * xoshiro256** 1.0 by D. Blackman and S. Vigna, seeded through splitmix64 as its authors advise
 * (https://prng.di.unimi.it/): a few instructions a number, which matters under emulation.
 */
#include "gt.h"

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

void gt_random_seed(struct gt_random *r, uint64_t seed, uint64_t stream)
{
	uint64_t state = seed;
	size_t i;

	/* Hash the seed before the stream is mixed in: seed 1 stream 2 is not seed 2 stream 1. */
	state = splitmix64(&state) ^ (stream * 0xd1342543de82ef95ULL);
	for (i = 0; i < GT_ARRAY(r->s); i++)
		r->s[i] = splitmix64(&state);
}

uint64_t gt_random_u64(struct gt_random *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint32_t gt_random_below(struct gt_random *r, uint32_t n)
{
	/* The high half of a product; the bias is below n / 2^32. */
	return (uint32_t)(((gt_random_u64(r) >> 32) * n) >> 32);
}

bool gt_random_one_in(struct gt_random *r, uint32_t n)
{
	return gt_random_below(r, n) == 0;
}
