// SPDX-License-Identifier: MIT
/*
 * Makes one detector of the kernel speak: one worker writes the name of a trigger to a file of debugfs, and
 * whatever comes of that comes to this process and not to /init.  Which one is in the domain name, the one
 * text that the agent can leave for a program: "<folder> <trigger>", as in "provoke-crash READ_AFTER_FREE".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/gt.h"

static char path[128];
static char trigger[64];

static bool setup(void)
{
	char text[64], folder[64];
	int n = gt_read(AT_FDCWD, "/proc/sys/kernel/domainname", text, sizeof(text));

	if (n < 0 || sscanf(text, "%63s %63s", folder, trigger) != 2) {
		gt_note("no trigger in the domain name");
		return false;
	}
	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/DIRECT", folder);
	return true;
}

static void cycle(struct gt_worker *w)
{
	int file = open(path, O_WRONLY), error = 0;

	(void)w;
	if (file < 0)
		gt_die("%s: %s", path, strerror(errno));
	gt_cycles(1);
	if (write(file, trigger, strlen(trigger)) < 0)
		error = errno;
	gt_note("%s: %s", trigger, error ? strerror(error) : "survived");
	close(file);
	while (!gt_over())
		gt_sleep(0.2);
}

static void nothing(void)
{
}

static const char *const figures[] = { NULL };
static const struct gt_role roles[] = { { .name = "provoke", .cycle = cycle }, { 0 } };
static const struct gt_check checks[] = { { 0 } };

const struct gt_program gt_program = {
	.name = "provoke",
	.stresses = "the detectors themselves: lkdtm and what tests/golden/series adds to it",
	.figures = figures,
	.setup = setup,
	.roles = roles,
	.settle = nothing,
	.checks = checks,
	.teardown = nothing,
};
