// SPDX-License-Identifier: MIT
/* Memory control in cgroup v1 (lib/v1.h). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"
#include "v1.h"

#define V2		"/sys/fs/cgroup"
#define V1		"/tmp/cgroup-memory"
#define MOVES_WITHIN	30.0	/* seconds until what was removed is freed */
#define EXIT_SKIP	4

/* A line of /proc/cgroups: the controller's hierarchy, 0 for v2, and the cgroups of that (proc_cgroupstats_show). */
static bool where(int *hierarchy, long long *cgroups)
{
	char text[4096], *line;

	if (gt_read(AT_FDCWD, "/proc/cgroups", text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nmemory");
	return line && sscanf(line, " memory %d %lld", hierarchy, cgroups) == 2;
}

bool gt_v1_wait_for_memcgs(long long most, double seconds)
{
	double until = gt_now() + seconds, drain_at = gt_now() + 0.5;
	long long cgroups;
	int hierarchy;

	while (!where(&hierarchy, &cgroups) || cgroups > most) {
		if (gt_now() > until)
			return false;
		gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "3");
		gt_sleep(0.05);
		if (gt_now() < drain_at)
			continue;
		/* What CPUs keep for the next time pins its memcg (drain_all_stock), and so does what is swapped out. */
		gt_write(gt_cgroup(), "memory.force_empty", "0");
		gt_swap_drain();
		drain_at = gt_now() + 2;
	}
	return true;
}

static void __attribute__((noreturn)) skip_all(const char *why)
{
	gt_print("KTAP version 1");
	gt_print("1..0 # SKIP %s", why);
	_exit(EXIT_SKIP);
}

void gt_v1_take(int argc, char **argv)
{
	static char place[] = V1;
	char on[256] = "";
	int i, at = 0;

	for (i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], "--cgroup"))
			at = i + 1;
	if (!at || strncmp(argv[at], V2 "/", strlen(V2 "/")))
		return;
	gt_read(AT_FDCWD, V2 "/cgroup.subtree_control", on, sizeof(on));
	if (strstr(on, "memory"))
		skip_all("memory control is on in cgroup v2");
	mkdir(V1, 0755);
	if (mount("memory", V1, "cgroup", 0, "memory,favordynmods") && mount("memory", V1, "cgroup", 0, "memory"))
		skip_all(errno == EINVAL ? "this kernel has no memory control in cgroup v1" : strerror(errno));
	argv[at] = place;
}

void gt_v1_let_go(void)
{
	double until = gt_now() + MOVES_WITHIN;
	long long cgroups;
	int hierarchy;

	if (umount2(V1, 0))
		return;
	rmdir(V1);
	/* Unmounting only begins to end a hierarchy. */
	while (where(&hierarchy, &cgroups) && hierarchy && gt_now() < until)
		gt_sleep(0.05);
}
