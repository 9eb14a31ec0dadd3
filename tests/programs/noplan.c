// SPDX-License-Identifier: MIT
/* A program that ends well and says nothing. */
#include <stddef.h>
#include <unistd.h>

#include "lib/gt.h"

static void __attribute__((constructor)) leave(void)
{
	_exit(0);
}

static bool setup(void)
{
	return true;
}

static void cycle(struct gt_worker *w)
{
	(void)w;
	gt_cycles(1);
}

static const struct gt_role roles[] = { { .name = "idler", .cycle = cycle }, { .name = NULL } };
static const struct gt_check checks[] = { { NULL, NULL } };

const struct gt_program gt_program = {
	.name = "noplan", .stresses = "nothing", .setup = setup, .roles = roles, .checks = checks,
};
