// SPDX-License-Identifier: MIT
/* Windows: both sides of a hazard brought together on purpose, and the count of how often they met. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>

#include "inside.h"

/* Seconds that one side waits for the other. */
#define WAIT	0.2

void gt_spin(unsigned int us)
{
	double until = gt_now() + us / 1e6;

	while (gt_now() < until)
		;
}

bool gt_meet(unsigned int window, unsigned int side, struct gt_worker *w, unsigned int most_us)
{
	struct window *one = &gt_shared->windows[window];
	/* The nth of one side meets the nth of the other. */
	uint64_t mine = atomic_fetch_add(&one->arrived[side], 1);
	double until = gt_now() + WAIT;

	while (atomic_load(&one->arrived[!side]) <= mine) {
		if (gt_over() || gt_now() > until) {
			/* The next of this side waits for the one that did not come. */
			atomic_fetch_sub(&one->arrived[side], 1);
			return false;
		}
		sched_yield();
	}
	if (most_us)
		gt_spin(gt_random_below(&w->random, most_us + 1));
	return true;
}

void gt_enter(unsigned int window, unsigned int side)
{
	struct window *one = &gt_shared->windows[window];

	atomic_fetch_add(&one->inside[side], 1);
	atomic_fetch_add(&one->ran[side], 1);
	if (atomic_load(&one->inside[!side]))
		atomic_fetch_add(&one->overlaps, 1);
}

void gt_leave(unsigned int window, unsigned int side)
{
	atomic_fetch_sub(&gt_shared->windows[window].inside[side], 1);
}

uint64_t gt_overlaps(unsigned int window)
{
	return atomic_load(&gt_shared->windows[window].overlaps);
}

bool gt_windows_reached(char *missed, size_t size)
{
	const struct gt_window *row = gt_program.windows;
	unsigned int i;

	for (i = 0; row && row[i].name; i++) {
		if (gt_overlaps(i))
			continue;
		snprintf(missed, size, "%s never met %s (%s)", row[i].side[0], row[i].side[1], row[i].name);
		return false;
	}
	return true;
}

void gt_windows_print(void)
{
	const struct gt_window *row = gt_program.windows;
	unsigned int i;

	for (i = 0; row && row[i].name; i++) {
		struct window *one = &gt_shared->windows[i];

		gt_note("window %s %s=%llu %s=%llu overlap=%llu", row[i].name, row[i].side[0],
			(unsigned long long)atomic_load(&one->ran[0]), row[i].side[1],
			(unsigned long long)atomic_load(&one->ran[1]), (unsigned long long)gt_overlaps(i));
	}
}
