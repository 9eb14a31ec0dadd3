// SPDX-License-Identifier: MIT
/* A program that does not come to its end. */
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

static bool waits_for_ever(void)
{
	volatile bool waiting = true;

	while (waiting)
		gt_sleep(1);
	return true;
}

static const struct gt_role roles[] = { { .name = "idler", .cycle = cycle }, { .name = NULL } };
static const struct gt_check checks[] = { { "waits_for_ever", waits_for_ever }, { NULL, NULL } };

const struct gt_program gt_program = {
	.name = "hang", .stresses = "nothing", .setup = setup, .roles = roles, .checks = checks,
};
