// SPDX-License-Identifier: MIT
/* A program that dies of a bug of its own, between two of its results. */
#include <stddef.h>

#include "lib/gt.h"

static bool setup(void)
{
	return true;
}

static void cycle(struct gt_worker *w)
{
	(void)w;
	gt_cycles(1);
	gt_sleep(0.05);
}

static bool crashes(void)
{
	volatile int *nowhere = NULL;

	return *nowhere == 0;
}

static const struct gt_role roles[] = { { .name = "idler", .cycle = cycle }, { .name = NULL } };
static const struct gt_check checks[] = { { "crashes", crashes }, { NULL, NULL } };

const struct gt_program gt_program = {
	.name = "segfault", .stresses = "nothing", .setup = setup, .roles = roles, .checks = checks,
};
