/* SPDX-License-Identifier: MIT */
/* What the library's own files share, and no program sees. */
#ifndef INSIDE_H
#define INSIDE_H

#include <stdatomic.h>

#include "gt.h"

/* One hazard, as its two sides go through it. */
struct window {
	_Atomic uint64_t arrived[2];	/* at gt_meet() */
	_Atomic uint64_t ran[2];	/* times that a side was in its part */
	_Atomic uint32_t inside[2];	/* workers that are in it now */
	_Atomic uint64_t overlaps;	/* times that a side began while the other was in its part */
};

/* Shared by all processes of the program, and with the agent, who reads the first member. */
struct shared {
	_Atomic uint64_t cycles;
	_Atomic uint64_t figures[GT_FIGURES];
	struct window windows[GT_WINDOWS];
	_Atomic bool over;		/* this round */
};

extern struct shared *gt_shared;

/* Seconds on the clock of gt_now() at which this round is over. */
extern double gt_over_at;

/* Run the workers until the round is over; whether every one of them came to its end by itself. */
bool gt_run_workers(unsigned int workers, uint64_t seed, unsigned int round);

/* Whether every window was reached: both sides in their part at once, at least once. */
bool gt_windows_reached(char *missed, size_t size);
void gt_windows_print(void);

/* Bring the kernel to rest and print the books, as round `round`. */
void gt_ledger_print(unsigned int round);

/* Empty all swap, slots that CPUs keep of it too: what is left swapped out pins its memcg. */
void gt_swap_drain(void);

/* One write(2) a line, so that lines of several workers do not mix. */
void gt_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
