// SPDX-License-Identifier: MIT
/* cgroup v2, by open folders: a path is walked once and not again for every file. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/time.h>
#include <unistd.h>

#include "inside.h"

/* Seconds after which swapoff is given up. */
#define SWAPOFF		60

int gt_cgroup_make(int parent, const char *name, bool inner)
{
	int fd, error;

	if (mkdirat(parent, name, 0755))
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = inner ? gt_write(fd, "cgroup.subtree_control", "+memory") : 0;
	/* In cgroup v1 there is no such file: every cgroup of a hierarchy has its controllers. */
	if (!error || error == -ENOENT)
		return fd;
	close(fd);
	unlinkat(parent, name, AT_REMOVEDIR);
	return error;
}

int gt_cgroup_make_many(int parent, const char *name, unsigned int n)
{
	int folder = gt_cgroup_make(parent, name, false);
	unsigned int i;

	for (i = 0; folder >= 0 && i < n; i++) {
		char below[16];

		snprintf(below, sizeof(below), "%u", i);
		if (mkdirat(folder, below, 0755)) {
			int error = -errno;

			close(folder);
			return error;
		}
	}
	return folder;
}

void gt_cgroup_memory(int cgroup, const char *change)
{
	int error = gt_write(cgroup, "cgroup.subtree_control", "%s", change);

	if (error)
		gt_die("%s: %s", change, strerror(-error));
}

int gt_cgroup_enter(int parent, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cgroup.procs", name);
	return gt_write(parent, path, "0");
}

int gt_cgroup_remove(int parent, const char *name)
{
	double until = 0;

	while (unlinkat(parent, name, AT_REMOVEDIR)) {
		if (errno == ENOENT)
			return 0;
		if (errno != EBUSY)
			return -errno;
		if (!until)
			until = gt_now() + 1.0;
		if (gt_now() > until)
			return -EBUSY;
		gt_sleep(0.005);
	}
	return 0;
}

int gt_cgroup_remove_below(int parent)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int error = 0;

	if (!folder)
		return -errno;
	while ((entry = readdir(folder))) {
		int child, bad;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		child = openat(parent, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (child >= 0) {
			gt_cgroup_remove_below(child);
			close(child);
		}
		bad = gt_cgroup_remove(parent, entry->d_name);
		if (bad)
			error = bad;
	}
	closedir(folder);
	return error;
}

static long long dying(int cgroup)
{
	long long cgroups = gt_read_key(cgroup, "cgroup.stat", "nr_dying_descendants");
	/* Only newer kernels count csses that outlive their cgroup (or its subtree_control). */
	long long csses = gt_read_key(cgroup, "cgroup.stat", "nr_dying_subsys_memory");

	if (cgroups < 0)
		return cgroups;
	return csses > cgroups ? csses : cgroups;
}

static void on_alarm(int number)
{
	(void)number;
}

/*
 * A swapped page of a dead memcg pins it, and so does its slot after the page was freed, for as
 * long as it waits in a CPU's cache of slots (mm/swap_slots.c), which only swapoff empties.
 */
void gt_swap_drain(void)
{
	static const struct itimerval soon = { .it_value.tv_sec = SWAPOFF }, never;
	struct sigaction action = { .sa_handler = on_alarm }, before;
	char text[1024], *line = text;
	static bool stuck;

	if (stuck || gt_read(AT_FDCWD, "/proc/swaps", text, sizeof(text)) < 0)
		return;
	/* An entry that nobody owns any more is looked for until a signal comes (mm/swapfile.c, try_to_unuse). */
	sigaction(SIGALRM, &action, &before);
	setitimer(ITIMER_REAL, &soon, NULL);
	while ((line = strchr(line, '\n')) && line[1] == '/') {
		char path[128], device[160];

		line++;
		if (sscanf(line, "%127s", path) != 1)
			continue;
		/* Where it was turned on in a mount namespace that has gone, its folder is not said. */
		snprintf(device, sizeof(device), "/dev/%s", strrchr(path, '/') + 1);
		if (!swapoff(device) && !swapon(device, 0))
			continue;
		gt_note("swap on %s cannot be drained: %s", device, strerror(errno));
		stuck = true;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
}

/* Seconds in which not one memcg more is freed: what is left stays, and in the next round so does that. */
#define STILL		20
#define STILL_LATER	3

bool gt_cgroup_drain(int cgroup, double seconds)
{
	double began = gt_now(), until = began + seconds, moved = began;
	static double still = STILL;
	long long left, least = LLONG_MAX;

	/* Dirty pages are not reclaimed, and 4 keeps the kernel from saying each time that caches are dropped. */
	sync();
	gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "4");
	gt_write(cgroup, "memory.reclaim", "64M");
	gt_swap_drain();
	for (;;) {
		/* In one go there may be less than this to reclaim: EAGAIN says so, and is fine. */
		gt_write(cgroup, "memory.reclaim", "64M");
		gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "3");
		left = dying(cgroup);
		if (left < least) {
			least = left;
			moved = gt_now();
		}
		if (left <= 0 || gt_now() > until || gt_now() > moved + still)
			break;
		/* Release and free are two work items with a grace period between them. */
		gt_sleep(0.1);
	}
	if (left > 0) {
		gt_note("%lld memcgs still dying after %.0f s", left, gt_now() - began);
		still = STILL_LATER;
	}
	if (left < 0)
		gt_note("cgroup.stat cannot be read: %s", strerror((int)-left));
	return left == 0;
}

bool gt_no_oom_kill(void)
{
	return gt_read_key(gt_cgroup(), "memory.events", "oom_kill") == 0;
}

bool gt_charges_back(long long most)
{
	long long current = gt_read_number(gt_cgroup(), "memory.current");
	long long swap = gt_read_number(gt_cgroup(), "memory.swap.current");
	long long zswap = gt_read_number(gt_cgroup(), "memory.zswap.current");

	gt_note("memory.current=%lld memory.swap.current=%lld memory.zswap.current=%lld", current, swap, zswap);
	return current >= 0 && current < most && swap <= 0 && zswap <= 0;
}
