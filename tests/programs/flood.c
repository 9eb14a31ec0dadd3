// SPDX-License-Identifier: MIT
/* A program that says more than anybody reads. */
#include <stddef.h>

#include "lib/gt.h"

static bool setup(void)
{
	return true;
}

static void cycle(struct gt_worker *w)
{
	int i;

	for (i = 0; i < 1000 && !gt_over(); i++)
		gt_note("worker %u says line %d of many, and each is as long as a line of a program may well be", w->index, i);
	gt_cycles(1);
}

static const struct gt_role roles[] = { { .name = "talker", .cycle = cycle }, { .name = NULL } };
static const struct gt_check checks[] = { { NULL, NULL } };

const struct gt_program gt_program = {
	.name = "flood", .stresses = "the console", .setup = setup, .roles = roles, .checks = checks,
};
