// SPDX-License-Identifier: MIT
/* A program that fills the file system it stands on, which is the guest's memory, and leaves it full. */
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "lib/gt.h"

static bool setup(void)
{
	return true;
}

static void cycle(struct gt_worker *w)
{
	static char block[1 << 16];
	int file = open("/full", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	(void)w;
	memset(block, 'x', sizeof(block));
	/* Until there is no more, however long that takes. */
	while (write(file, block, sizeof(block)) > 0)
		gt_cycles(1);
	close(file);
	gt_sleep(0.05);
}

static const struct gt_role roles[] = { { .name = "writer", .cycle = cycle }, { .name = NULL } };
static const struct gt_check checks[] = { { NULL, NULL } };

const struct gt_program gt_program = {
	.name = "fill", .stresses = "the guest's memory", .setup = setup, .roles = roles, .checks = checks,
};
