// SPDX-License-Identifier: MIT
/*
 * Dentries and inodes of memcgs that die, while they are shrunk and their file systems go.
 *
 * Path: list_lru (mm/list_lru.c) of dentries and inodes, as fs/super.c keeps them for each
 * superblock, node and memcg.  memcg_list_lru_alloc() puts in a memcg's lists at its first dentry
 * or inode on a superblock; list_lru_add() and list_lru_del() find the list by (node, memcg);
 * memcg_reparent_list_lrus() moves all of them to the parent when a memcg goes offline;
 * list_lru_walk_one() takes objects off under shrink_slab(); list_lru_destroy() ends it with the
 * superblock.  Along with it go shrinker_info of each memcg (mm/shrinker.c), the objcg of objects
 * that outlive their memcg, and the last free of an object of a dead memcg against the shrinker.
 *
 * Churners enter memcgs, look names up, make files and unlink those that an earlier, dead memcg
 * made, on file systems that stay: ext4, an overlay of it, tmpfs.  Mounters mount and unmount the
 * same kinds (each has a RAM disk of its own) from memcgs that die before or after the unmount.
 * Droppers write 2 to drop_caches and reclaim.  A cycle is a memcg that was made, used and freed.
 *
 * A bug: any splat; a memcg still dying when caches are dropped and file systems are gone; charges
 * that do not come back; an unmount that stays busy; a file that is lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/gt.h"

#define IMAGE		"/share/ext4"	/* blocks that are not zero, each behind its number (u64) */
#define IMAGE_BLOCK	1024
#define DISKS		3		/* /dev/ram1 and so on; the first one stays mounted */
#define FILES		256		/* made in the beginning, looked up and never removed */
#define MANY		8		/* memcgs of a churner's batch */
#define DYING_MOST	256		/* above that a churner waits for the droppers */

enum { LOOKUPS, MADE, UNLINKED, MOUNTS, MOUNTS_EXT4, MOUNTS_OVERLAY, DROPS, RECLAIMS, LOST, BUSY };

static const char *const figures[] = {
	"lookups", "made", "unlinked", "mounts", "mounts_ext4", "mounts_overlay", "drops", "reclaims", "lost",
	"busy", NULL,
};

static char base[64];			/* all mount points are below */
static const char *const stays[] = { "ext4", "overlay", "tmpfs" };

struct actor {
	int many;			/* folder of its memcgs */
	char home[16];
	unsigned int born;		/* number of the next file it makes */
	unsigned int gone;		/* and of the next it unlinks */
	char disk[16];			/* a mounter's own, or empty */
	char point[96];			/* where it mounts */
};

/* --- before ---------------------------------------------------------------------------- */

static bool write_image(unsigned int disk)
{
	struct {
		uint64_t number;
		char data[IMAGE_BLOCK];
	} __attribute__((packed)) block;
	char path[32];
	int from, to;
	bool good = true;

	snprintf(path, sizeof(path), "/dev/ram%u", disk);
	from = open(IMAGE, O_RDONLY | O_CLOEXEC);
	to = open(path, O_WRONLY | O_CLOEXEC);
	while (from >= 0 && to >= 0 && good && read(from, &block, sizeof(block)) == sizeof(block))
		good = pwrite(to, block.data, IMAGE_BLOCK, (off_t)block.number * IMAGE_BLOCK) == IMAGE_BLOCK;
	good = good && from >= 0 && to >= 0 && !fsync(to);
	if (!good)
		gt_note("%s cannot be written to %s: %s", IMAGE, path, strerror(errno));
	close(from);
	close(to);
	return good;
}

static bool mounted(const char *type, const char *source, const char *point, const char *options)
{
	if (mkdir(point, 0755) && errno != EEXIST) {
		gt_note("%s: %s", point, strerror(errno));
		return false;
	}
	if (mount(source, point, type, 0, options)) {
		gt_note("%s on %s: %s", type, point, strerror(errno));
		return false;
	}
	return true;
}

static bool overlay_on(const char *point, const char *upper)
{
	char options[512], path[160];

	mkdir(upper, 0755);
	snprintf(path, sizeof(path), "%s/work", upper);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/upper", upper);
	mkdir(path, 0755);
	snprintf(options, sizeof(options), "lowerdir=%s/ext4,upperdir=%s/upper,workdir=%s/work", base, upper, upper);
	return mounted("overlay", "overlay", point, options);
}

static bool make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool prepare(void)
{
	char path[96], upper[96];
	unsigned int i;

	snprintf(base, sizeof(base), "/mnt/fs_churn.%d", getpid());
	if (!mounted("tmpfs", "tmpfs", base, "mode=0755"))
		return false;
	for (i = 1; i <= DISKS; i++)
		if (!write_image(i))
			return false;
	snprintf(path, sizeof(path), "%s/ext4", base);
	if (!mounted("ext4", "/dev/ram1", path, NULL))
		return false;
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/ext4/%u", base, i);
		if (!make_file(path)) {
			gt_note("%s: %s", path, strerror(errno));
			return false;
		}
	}
	snprintf(path, sizeof(path), "%s/tmpfs", base);
	if (!mounted("tmpfs", "tmpfs", path, "mode=0755"))
		return false;
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/tmpfs/%u", base, i);
		make_file(path);
	}
	snprintf(path, sizeof(path), "%s/overlay", base);
	snprintf(upper, sizeof(upper), "%s/over", base);
	return overlay_on(path, upper);
}

static bool setup(void)
{
	/* Mounts of our own: when the program is killed they go with its last process. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		gt_note("no mount namespace: %s", strerror(errno));
		return false;
	}
	return prepare();
}

/* --- what is done in a memcg -------------------------------------------------------------- */

/* Look files up that are there, and names that are not: dentries, inodes and negative dentries. */
static void look_up(struct gt_worker *w, const char *folder, unsigned int n)
{
	struct stat status;
	char path[160];
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint32_t number = gt_random_below(&w->random, FILES * 3 / 2);

		snprintf(path, sizeof(path), "%s/%u", folder, number);
		if (!stat(path, &status) != (number < FILES)) {
			gt_note("%s: %s", path, number < FILES ? strerror(errno) : "is there");
			gt_count(LOST, 1);
		}
	}
	gt_count(LOOKUPS, n);
}

/* Make some files, and unlink as many that were made by memcgs of former batches. */
static void make_and_unlink(struct gt_worker *w, const char *folder)
{
	struct actor *a = w->own;
	char path[160];
	int i;

	for (i = 0; i < 2; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/w%u.%u", folder, w->index, a->born);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			continue;
		/* A page of data pins the memcg until it is written back and reclaimed. */
		if (i && write(fd, path, sizeof(path)) != sizeof(path))
			gt_note("%s: %s", path, strerror(errno));
		close(fd);
		a->born++;
		gt_count(MADE, 1);
	}
}

static void unlink_old(struct gt_worker *w, unsigned int keep)
{
	struct actor *a = w->own;
	char path[160];

	while (a->born - a->gone > keep) {
		unsigned int i;

		/* It is on one of them, and the lookups on the others leave negative dentries. */
		for (i = 0; i < GT_ARRAY(stays); i++) {
			snprintf(path, sizeof(path), "%s/%s/w%u.%u", base, stays[i], w->index, a->gone);
			if (!unlink(path))
				break;
		}
		gt_count(i < GT_ARRAY(stays) ? UNLINKED : LOST, 1);
		a->gone++;
	}
}

/* --- actors -------------------------------------------------------------------------------------- */

static void actor_begin(struct gt_worker *w)
{
	struct actor *a = calloc(1, sizeof(*a));
	char name[16];
	int home;

	if (!a)
		gt_die("no memory");
	snprintf(a->home, sizeof(a->home), "h%u", w->index);
	home = gt_cgroup_make(gt_cgroup(), a->home, false);
	snprintf(name, sizeof(name), "t%u", w->index);
	a->many = gt_cgroup_make_many(gt_cgroup(), name, MANY);
	if (home < 0 || a->many < 0)
		gt_die("%s: %s", name, strerror(home < 0 ? -home : -a->many));
	close(home);
	if (w->rank + 2 <= DISKS)
		snprintf(a->disk, sizeof(a->disk), "/dev/ram%u", w->rank + 2);
	snprintf(a->point, sizeof(a->point), "%s/m%u", base, w->index);
	w->own = a;
}

static void enter(struct gt_worker *w, unsigned int number)
{
	struct actor *a = w->own;
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	if (gt_cgroup_enter(a->many, name))
		gt_die("%s cannot be entered", name);
}

static void go_home(struct gt_worker *w)
{
	struct actor *a = w->own;

	if (gt_cgroup_enter(gt_cgroup(), a->home))
		gt_die("%s cannot be entered", a->home);
}

static void churn(struct gt_worker *w)
{
	struct actor *a = w->own;
	unsigned int i;

	gt_cgroup_memory(a->many, "+memory");
	for (i = 0; i < MANY; i++) {
		const char *where = stays[gt_random_below(&w->random, GT_ARRAY(stays))];
		char folder[96];

		/* One in four is never used: it has no lists to be reparented. */
		if (gt_random_one_in(&w->random, 4))
			continue;
		snprintf(folder, sizeof(folder), "%s/%s", base, where);
		enter(w, i);
		look_up(w, folder, 12);
		if (gt_random_one_in(&w->random, 2))
			make_and_unlink(w, folder);
	}
	go_home(w);
	/* While they go offline, objects of theirs are taken off the lists. */
	gt_cgroup_memory(a->many, "-memory");
	unlink_old(w, 8);
	gt_cycles(MANY);

	while (!gt_over() && gt_read_key(gt_cgroup(), "cgroup.stat", "nr_dying_subsys_memory") > DYING_MOST)
		gt_sleep(0.01);
}

static void churn_end(struct gt_worker *w)
{
	unlink_old(w, 0);
}

static void unmount(const char *point)
{
	double until = gt_now() + 10;

	/* Busy for a moment when a dropper holds an inode of it. */
	while (umount(point)) {
		if (errno != EBUSY || gt_now() > until) {
			gt_note("%s: %s", point, strerror(errno));
			gt_count(BUSY, 1);
			return;
		}
		gt_sleep(0.01);
	}
}

static void mount_cycle(struct gt_worker *w)
{
	struct actor *a = w->own;
	uint32_t kind = gt_random_below(&w->random, 8);
	bool dies_first = gt_random_one_in(&w->random, 2);
	char upper[112], path[160];
	unsigned int i;
	bool good;

	gt_cgroup_memory(a->many, "+memory");
	enter(w, 0);
	if (kind == 0 && a->disk[0]) {
		good = mounted("ext4", a->disk, a->point, NULL);
		gt_count(MOUNTS_EXT4, good);
	} else if (kind < 3) {
		snprintf(upper, sizeof(upper), "%s.upper", a->point);
		good = overlay_on(a->point, upper);
		gt_count(MOUNTS_OVERLAY, good);
		look_up(w, a->point, 8);
	} else {
		good = mounted("tmpfs", "tmpfs", a->point, "mode=0755");
	}
	if (!good)
		gt_die("a mounter cannot mount");
	gt_count(MOUNTS, 1);
	/* One memcg after the other is the first on this superblock: its lists are put in now. */
	for (i = 1; i < MANY; i++) {
		if (gt_random_one_in(&w->random, 2))
			continue;
		enter(w, i);
		snprintf(path, sizeof(path), "%s/w%u.x%u", a->point, w->index, i);
		make_file(path);
		snprintf(path, sizeof(path), "%s/none%u", a->point, i);
		if (!access(path, F_OK))
			gt_count(LOST, 1);
		snprintf(path, sizeof(path), "%s/w%u.x%u", a->point, w->index, i);
		if (unlink(path))
			gt_count(LOST, 1);
	}
	go_home(w);
	if (dies_first)
		gt_cgroup_memory(a->many, "-memory");
	unmount(a->point);
	if (!dies_first)
		gt_cgroup_memory(a->many, "-memory");
	gt_cycles(MANY);
}

static void drop(struct gt_worker *w)
{
	/* Dropping all caches of a guest and filling them again takes most of its time: leave some. */
	gt_sleep(gt_random_below(&w->random, 200) / 1000.0);
	if (w->own && gt_random_one_in(&w->random, 2)) {
		gt_write(gt_cgroup(), "memory.reclaim", "128K swappiness=0");
		gt_count(RECLAIMS, 1);
	} else if (!gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "2")) {
		gt_count(DROPS, 1);
		w->own = base;	/* the first time it is this, however short the budget */
	}
}

/* --- afterwards ------------------------------------------------------------------------------------ */

static bool left_mounted, left_dying;

static void put_away(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/overlay", base);
	unmount(path);
	snprintf(path, sizeof(path), "%s/tmpfs", base);
	unmount(path);
	snprintf(path, sizeof(path), "%s/ext4", base);
	unmount(path);
	unmount(base);
	if (gt_figure(BUSY))
		left_mounted = true;
	rmdir(base);
	gt_cgroup_remove_below(gt_cgroup());
	if (!gt_cgroup_drain(gt_cgroup(), 60) || gt_read_key(gt_cgroup(), "cgroup.stat", "nr_descendants"))
		left_dying = true;
}

/* The books of each round are read with what setup made, and no more. */
static void settle(void)
{
	put_away();
	if (!prepare())
		gt_die("cannot be set up again");
}

static bool drops_ran(void)
{
	return gt_figure(DROPS) > 0 && gt_figure(LOOKUPS) > 0;
}

static bool mounts_ran(void)
{
	return gt_figure(MOUNTS) > 0;
}

static bool nothing_lost(void)
{
	return gt_figure(LOST) == 0;
}

static bool all_unmounted(void)
{
	return !left_mounted;
}

static bool nothing_left_dying(void)
{
	return !left_dying;
}

static bool counters_back(void)
{
	long long current = gt_read_number(gt_cgroup(), "memory.current");

	gt_note("memory.current=%lld", current);
	return current >= 0 && current < (1 << 20);
}

static const struct gt_role roles[] = {
	{ .name = "churner", .begin = actor_begin, .cycle = churn, .end = churn_end },
	{ .name = "mounter", .begin = actor_begin, .cycle = mount_cycle },
	{ .name = "dropper", .cycle = drop },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "drops_ran", drops_ran },
	{ "mounts_ran", mounts_ran },
	{ "nothing_lost", nothing_lost },
	{ "all_unmounted", all_unmounted },
	{ "nothing_left_dying", nothing_left_dying },
	{ "counters_back", counters_back },
	{ "no_oom_kill", gt_no_oom_kill },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "fs_churn",
	.stresses = "list_lru of dentries and inodes while memcgs die and file systems are unmounted",
	.figures = figures,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.teardown = put_away,
	.checks = checks,
};
