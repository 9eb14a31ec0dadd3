// SPDX-License-Identifier: MIT
/*
 * Superblocks that are made while memcgs are.
 *
 * Path: __list_lru_init() and list_lru_destroy() (mm/list_lru.c), as alloc_super() and
 * deactivate_locked_super() (fs/super.c) call them twice for each superblock, against a memcg that comes
 * online and goes offline (mem_cgroup_css_online(), memcg_reparent_list_lrus()), and against
 * memcg_list_lru_alloc(), which puts a memcg's lists in at its first object.  A list_lru has to have the
 * lists of each memcg that was there before it, of each that comes after it, and of each that came while it was
 * made; a memcg that goes offline walks all list_lrus that are registered, and so the one that was this moment.
 *
 *	mounter   mounts overlay, tmpfs or ext4, lets the makers' memcgs use it, unmounts it
 *	maker     turns memcgs on while a mounter mounts; each of them then makes dentries and inodes on
 *	          each superblock there is, as only a use of it tells whether a list_lru is whole; turns
 *	          them off while superblocks go
 *	failer    makes superblocks, and memcgs, with one allocation failing: the first, the second, and so on
 *	          (/proc/self/fail-nth, where the kernel has failslab), so that each error path is gone through
 *
 * Afterwards superblocks are made and destroyed by 1, 2 and more processes at once, with memcgs in the system,
 * and how many a second is printed with its standard error: a lock over the whole of list_lru's creation is
 * correct, and costs just that.
 *
 * A bug: any splat; a shrinker that stays when its superblock is gone; a memcg still dying at the end; a mount
 * that fails without a reason; an unmount that stays busy.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/gt.h"

#define MANY		5		/* memcgs of a batch */
#define SETS		2		/* of batches: one is going offline while the next is made */
#define MOUNTERS	8		/* most */
#define POINTS		3		/* of each, mounted one after the other while memcgs are made */
#define STAYING		6		/* memcgs that each of them makes and leaves alone: a list_lru has theirs too */
#define FILES		8		/* in the folder below an overlay */
#define FIRST_DISK	4		/* /dev/ram4: the first mounter's, who mounts ext4 now and then */
#define DISKS		2
#define PATIENCE	10.0		/* seconds that the two sides wait for each other's work */
#define MADE_AND_GONE	3		/* superblocks that a mounter makes after it has unmounted */
#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAIL_MOST	2000		/* allocations of one mount; more is no failslab at all */
#define FAILED_AT_ONCE	4
#define BYSTANDERS	24		/* memcgs that are there when superblocks are counted */
#define SLICES		5		/* of a count, and their seconds: */
#define SLICE		0.3
/* Serialising is a price, and no bug: it is told, and only mounts that nearly stand still are worth a FAIL. */
#define LEAST_MS	1000.0

enum { MOUNTS, MOUNTS_EXT4, MOUNTS_OVERLAY, VISITS, ADDED, FAILED_MOUNTS, FAILED_MEMCGS, ALL_FAILED, BAD, BUSY };

static const char *const figures[] = {
	"mounts", "mounts_ext4", "mounts_overlay", "visits", "added", "failed_mounts", "failed_memcgs",
	"all_failed", "bad_mounts", "busy", NULL,
};

enum { CREATE, REMOVE };

static const struct gt_window windows[] = {
	[CREATE] = { "mount_create", { "mount", "create" } },
	[REMOVE] = { "unmount_remove", { "unmount", "remove" } },
	{ .name = NULL },
};

enum state { NOTHING, IN_THE_MAKING, MOUNTED };

static struct shared {
	struct slot {
		_Atomic unsigned int state;	/* of what is mounted there, enum state */
		_Atomic unsigned int visits;	/* batches of memcgs that have used it */
	} slots[MOUNTERS];
	_Atomic unsigned int names;		/* of files that are not there: each is used once */
	_Atomic uint64_t made;			/* superblocks, when they are counted */
	_Atomic bool stop;
} *shared;

static char base[64];				/* all mount points are below */
static int cpus[64];
static unsigned int cpus_n;
static unsigned int disks_n;
static bool failslab;
static int shrinkers_before;

/* --- before ---------------------------------------------------------------------------- */

/* The two sides of a window have to run at once, so they stand on different CPUs. */
static void run_on(unsigned int number)
{
	cpu_set_t set;

	if (!cpus_n)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpus[number % cpus_n], &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Shrinkers of superblocks, or -1. */
static int superblocks(void)
{
	DIR *folder = opendir("/sys/kernel/debug/shrinker");
	struct dirent *entry;
	int n = 0;

	if (!folder)
		return -1;
	while ((entry = readdir(folder)))
		n += !strncmp(entry->d_name, "sb-", 3);
	closedir(folder);
	return n;
}

/* Let failslab fail allocations that may sleep, say nothing, and none that is not asked for by fail-nth. */
static bool set_failslab(void)
{
	static const struct {
		const char *name, *value;
	} settings[] = {
		{ "ignore-gfp-wait", "N" }, { "cache-filter", "N" }, { "verbose", "0" }, { "probability", "0" },
	};
	char path[64];
	unsigned int i;

	for (i = 0; i < GT_ARRAY(settings); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/failslab/%s", settings[i].name);
		if (gt_write(AT_FDCWD, path, "%s", settings[i].value))
			return false;
	}
	return !access(FAIL_NTH, W_OK);
}

static bool setup(void)
{
	char path[96], device[16];
	cpu_set_t set;
	int i;

	if (!sched_getaffinity(0, sizeof(set), &set))
		for (i = 0; i < CPU_SETSIZE && cpus_n < GT_ARRAY(cpus); i++)
			if (CPU_ISSET(i, &set))
				cpus[cpus_n++] = i;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		gt_note("no memory");
		return false;
	}
	if (!gt_mounts_private())
		return false;
	snprintf(base, sizeof(base), "/mnt/lru_mount.%d", getpid());
	if (!gt_mount("tmpfs", "tmpfs", base, "mode=0755"))
		return false;
	for (disks_n = 0; disks_n < DISKS; disks_n++) {
		snprintf(device, sizeof(device), "/dev/ram%u", FIRST_DISK + disks_n);
		if (!gt_ext4_write(device))
			return false;
	}
	snprintf(path, sizeof(path), "%s/empty", base);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/lower", base);
	mkdir(path, 0755);
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/lower/%d", base, i);
		if (mknod(path, S_IFREG | 0600, 0)) {
			gt_note("%s: %s", path, strerror(errno));
			return false;
		}
	}
	failslab = set_failslab();
	if (!failslab)
		gt_note("no failslab: no allocation fails");
	shrinkers_before = superblocks();
	return true;
}

/* --- common to all workers --------------------------------------------------------------- */

struct actor {
	int sets[SETS];		/* folders of its memcgs */
	char home[16];
	char points[POINTS][96];	/* where it mounts */
	char disk[16];		/* a mounter's own, or empty */
	unsigned int turn;
	unsigned int nth[2];	/* a failer's: of a mount, of memcgs */
};

static void actor_begin(struct gt_worker *w)
{
	struct actor *a = calloc(1, sizeof(*a));
	unsigned int i;
	char name[16];
	int home;

	if (!a)
		gt_die("no memory");
	/* Roles are dealt in turn, so the first mounter and the first maker are neighbours. */
	run_on(w->index + w->rank);
	snprintf(a->home, sizeof(a->home), "h%u", w->index);
	home = gt_cgroup_make(gt_cgroup(), a->home, false);
	if (home < 0)
		gt_die("%s: %s", a->home, strerror(-home));
	close(home);
	for (i = 0; i < SETS; i++) {
		snprintf(name, sizeof(name), "t%u.%u", w->index, i);
		a->sets[i] = gt_cgroup_make_many(gt_cgroup(), name, MANY);
		if (a->sets[i] < 0)
			gt_die("%s: %s", name, strerror(-a->sets[i]));
	}
	for (i = 0; i < POINTS; i++) {
		snprintf(a->points[i], sizeof(a->points[i]), "%s/m%u.%u", base, w->index, i);
		mkdir(a->points[i], 0755);
	}
	/* A round may be too short for all allocations, so each begins elsewhere. */
	a->nth[0] = 1 + gt_random_below(&w->random, 64);
	a->nth[1] = 1 + gt_random_below(&w->random, 64);
	w->own = a;
}

/* On a slow machine the other side may be long in coming; it comes, unless the round is over. */
static void meet(unsigned int window, unsigned int side, struct gt_worker *w)
{
	double until = gt_now() + PATIENCE;

	while (!gt_meet(window, side, w, 0) && !gt_over() && gt_now() < until)
		;
}

static void go_home(struct actor *a)
{
	if (gt_cgroup_enter(gt_cgroup(), a->home))
		gt_die("%s cannot be entered", a->home);
}

/* Nothing but lower folders: a mount that makes no more than its own superblock and root. */
static int mount_overlay(const char *point)
{
	char options[256];

	snprintf(options, sizeof(options), "lowerdir=%s/lower:%s/empty", base, base);
	return mount("overlay", point, "overlay", 0, options) ? -errno : 0;
}

static int mount_tmpfs(const char *point)
{
	return mount("tmpfs", point, "tmpfs", 0, "mode=0755") ? -errno : 0;
}

/* What mount(2) does before it looks for a place: the superblock, with its list_lrus, and its end. */
static bool make_superblock(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	bool good = fs >= 0 && !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);

	if (fs >= 0)
		close(fs);
	return good;
}

/* --- mounter --------------------------------------------------------------------------------- */

static void mount_begin(struct gt_worker *w)
{
	struct actor *a;
	char name[16];
	int staying;

	actor_begin(w);
	a = w->own;
	/* From the root: the pages that a mounted ext4 keeps would pin the memcg that mounted it. */
	if (w->rank < disks_n)
		snprintf(a->disk, sizeof(a->disk), "/dev/ram%u", FIRST_DISK + w->rank);
	snprintf(name, sizeof(name), "s%u", w->index);
	staying = gt_cgroup_make_many(gt_cgroup(), name, STAYING);
	if (staying < 0)
		gt_die("%s: %s", name, strerror(-staying));
	gt_cgroup_memory(staying, "+memory");
	close(staying);
}

static bool mount_one(struct gt_worker *w, unsigned int number)
{
	struct actor *a = w->own;
	const char *point = a->points[number];
	uint32_t kind = gt_random_below(&w->random, 32);
	int error;

	if (kind < 1 && number == 0 && a->disk[0]) {
		error = mount(a->disk, point, "ext4", 0, NULL) ? -errno : 0;
		gt_count(MOUNTS_EXT4, !error);
	} else if (kind < 4) {
		error = mount_tmpfs(point);
	} else {
		error = mount_overlay(point);
		gt_count(MOUNTS_OVERLAY, !error);
	}
	gt_count(error ? BAD : MOUNTS, 1);
	if (error)
		gt_note("%s: %s", point, strerror(-error));
	return !error;
}

static void mount_cycle(struct gt_worker *w)
{
	struct actor *a = w->own;
	struct slot *slot = &shared->slots[w->rank % MOUNTERS];
	bool mounted[POINTS];
	unsigned int i;
	double until;

	atomic_store(&slot->visits, 0);
	/* To make some memcgs takes longer than to mount: come at any time of it. */
	meet(CREATE, 0, w);
	gt_sleep(gt_random_below(&w->random, 6) / 1000.0);
	atomic_store(&slot->state, IN_THE_MAKING);
	for (i = 0; i < POINTS; i++) {
		gt_enter(CREATE, 0);
		mounted[i] = mount_one(w, i);
		gt_leave(CREATE, 0);
	}
	atomic_store(&slot->state, MOUNTED);
	/* Only use tells whether they are whole, and a maker comes by when it has made its memcgs. */
	until = gt_now() + PATIENCE;
	while (!atomic_load(&slot->visits) && gt_now() < until && !gt_over())
		gt_sleep(0.002);
	atomic_store(&slot->state, NOTHING);
	/* Memcgs go offline a grace period after they were turned off. */
	meet(REMOVE, 0, w);
	gt_sleep(gt_random_below(&w->random, 30) / 1000.0);
	gt_enter(REMOVE, 0);
	for (i = 0; i < POINTS; i++)
		if (mounted[i] && !gt_unmount(a->points[i], 10))
			gt_count(BUSY, 1);
	/* And one or another comes and goes: a memcg that goes offline sees it half made. */
	for (i = 0; i < MADE_AND_GONE; i++)
		make_superblock();
	gt_leave(REMOVE, 0);
	gt_cycles(POINTS);
}

/* --- maker --------------------------------------------------------------------------------------- */

/* In the memcg that this process is in: objects on a mounter's superblocks. */
static void use(struct gt_worker *w, unsigned int mounter)
{
	char path[128];
	unsigned int i;
	int fd;

	for (i = 0; i < POINTS; i++) {
		/* Roles are dealt in turn: mounter, maker, failer. */
		snprintf(path, sizeof(path), "%s/m%u.%u/n%u", base, mounter * 3, i,
			 atomic_fetch_add(&shared->names, 1));
		access(path, F_OK);
		snprintf(path, sizeof(path), "%s/m%u.%u/%u", base, mounter * 3, i,
			 gt_random_below(&w->random, FILES));
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
	}
	gt_count(ADDED, 2 * POINTS);
}

static void visit(struct gt_worker *w, int set)
{
	struct actor *a = w->own;
	unsigned int used[MOUNTERS] = { 0 };
	unsigned int i, slot;
	char name[16];

	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%u", i);
		if (gt_cgroup_enter(set, name))
			gt_die("memcg %u cannot be entered", i);
		for (slot = 0; slot < MOUNTERS; slot++) {
			if (atomic_load(&shared->slots[slot].state) != MOUNTED)
				continue;
			use(w, slot);
			used[slot]++;
		}
	}
	go_home(a);
	for (slot = 0; slot < MOUNTERS; slot++)
		if (used[slot] == MANY)
			atomic_fetch_add(&shared->slots[slot].visits, 1);
	gt_count(VISITS, 1);
}

static bool any_slot(enum state state)
{
	unsigned int i;

	for (i = 0; i < MOUNTERS; i++)
		if (atomic_load(&shared->slots[i].state) == (unsigned int)state)
			return true;
	return false;
}

static void make(struct gt_worker *w)
{
	struct actor *a = w->own;
	int set = a->sets[a->turn++ % SETS];
	double until;

	meet(CREATE, 1, w);
	gt_enter(CREATE, 1);
	gt_cgroup_memory(set, "+memory");
	gt_leave(CREATE, 1);
	/* A mount that began while they were made may take longer than they did. */
	until = gt_now() + PATIENCE;
	while (any_slot(IN_THE_MAKING) && gt_now() < until)
		gt_sleep(0.001);
	until = gt_now() + 0.1;
	while (!any_slot(MOUNTED) && gt_now() < until && !gt_over())
		gt_sleep(0.001);
	visit(w, set);
	meet(REMOVE, 1, w);
	gt_enter(REMOVE, 1);
	gt_cgroup_memory(set, "-memory");
	/* As long as it takes until they are offline, as a rule; the next batch is the other set. */
	gt_sleep(0.02 + gt_random_below(&w->random, 20) / 1000.0);
	gt_leave(REMOVE, 1);
	gt_cycles(MANY);
}

/* --- failer ---------------------------------------------------------------------------------------- */

/* The file stays open: to open it is to allocate, and would be what fails. */
static int fail_file = -1;

static void fail_begin(struct gt_worker *w)
{
	actor_begin(w);
	if (failslab)
		fail_file = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
}

static bool set_nth(unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	return fail_file >= 0 && pwrite(fail_file, text, (size_t)length, 0) == length;
}

/* Nothing fails any more.  Whether there was an nth allocation, and so one that failed: the count has come to 0. */
static bool has_failed(void)
{
	char text[16] = "";
	bool good = pread(fail_file, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	set_nth(0);
	return good;
}

static void next(unsigned int *nth, bool failed)
{
	if (failed && *nth < FAIL_MOST) {
		++*nth;
		return;
	}
	gt_count(ALL_FAILED, 1);
	*nth = 1;
}

static void fail_superblock(struct gt_worker *w)
{
	struct actor *a = w->own;
	bool armed = set_nth(a->nth[0]), good = make_superblock(), failed = armed && has_failed();

	if (armed)
		next(&a->nth[0], failed);
	if (good)
		return;
	gt_count(failed ? FAILED_MOUNTS : BAD, 1);
	if (!failed)
		gt_note("a superblock cannot be made: %s", strerror(errno));
}

static void fail_memcgs(struct gt_worker *w)
{
	struct actor *a = w->own;
	int file = openat(a->sets[0], "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	bool armed, failed;
	ssize_t done;

	if (file < 0)
		gt_die("cgroup.subtree_control: %s", strerror(errno));
	armed = set_nth(a->nth[1]);
	done = write(file, "+memory", 7);
	failed = armed && has_failed();
	if (armed)
		next(&a->nth[1], failed);
	close(file);
	if (done < 0)
		gt_count(FAILED_MEMCGS, 1);
	else
		gt_cgroup_memory(a->sets[0], "-memory");
}

static void fail_cycle(struct gt_worker *w)
{
	unsigned int i;

	for (i = 0; i < FAILED_AT_ONCE; i++)
		fail_superblock(w);
	if (gt_random_one_in(&w->random, 3))
		fail_memcgs(w);
	gt_cycles(1);
	gt_sleep(gt_random_below(&w->random, 40) / 1000.0);
}

/* --- how many a second ---------------------------------------------------------------------------------- */

/* Newton's; the C library's is in a library of its own. */
static double root(double x)
{
	double y = x > 1 ? x : 1;
	unsigned int i;

	for (i = 0; i < 64; i++)
		y = (y + x / y) / 2;
	return y;
}

static bool measure(unsigned int mounters, double *rate, double *error)
{
	double sum = 0, squares = 0;
	pid_t pids[MOUNTERS];
	unsigned int i, n = 0;

	atomic_store(&shared->stop, false);
	for (i = 0; i < mounters; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			run_on(i);
			while (!atomic_load(&shared->stop) && make_superblock())
				atomic_fetch_add(&shared->made, 1);
			_exit(!atomic_load(&shared->stop));
		}
		n += pids[i] > 0;
	}
	/* The first moments belong to fork. */
	gt_sleep(SLICE / 2);
	for (i = 0; i < SLICES; i++) {
		uint64_t made = atomic_load(&shared->made);
		double from = gt_now(), one;

		gt_sleep(SLICE);
		one = (double)(atomic_load(&shared->made) - made) / (gt_now() - from);
		sum += one;
		squares += one * one;
	}
	atomic_store(&shared->stop, true);
	for (i = 0; i < mounters; i++) {
		int status = 1;

		if (pids[i] > 0 && (waitpid(pids[i], &status, 0) != pids[i] || status))
			n = 0;
	}
	*rate = sum / SLICES;
	squares = (squares - sum * sum / SLICES) / (SLICES - 1);
	*error = root((squares > 0 ? squares : 0) / SLICES);
	return n == mounters && *rate > 0;
}

static bool rates_measured(void)
{
	unsigned int at_once[] = { 1, 2, 4 }, i;
	int folder = gt_cgroup_make_many(gt_cgroup(), "bystanders", BYSTANDERS);
	bool good = folder >= 0;

	if (good)
		gt_cgroup_memory(folder, "+memory");
	if (cpus_n > at_once[2])
		at_once[2] = cpus_n < MOUNTERS ? cpus_n : MOUNTERS;
	for (i = 0; i < GT_ARRAY(at_once) && good; i++) {
		double rate, error;

		good = measure(at_once[i], &rate, &error);
		gt_note("mounts_per_second_%u=%.1f", at_once[i], rate);
		gt_note("mounts_per_second_error_%u=%.1f", at_once[i], error);
		/* More is worse in a figure, so it is the time of one, and its error by the same share. */
		if (rate > 0)
			gt_note("figure ms_per_mount_%u %.3f %.3f %.1f", at_once[i], 1000 / rate,
				1000 / rate * error / rate, LEAST_MS);
	}
	close(folder);
	gt_cgroup_remove_below(gt_cgroup());
	return good;
}

/* --- afterwards -------------------------------------------------------------------------------------------- */

static bool drained;

static void settle(void)
{
	char path[96];
	unsigned int i;

	/* What a worker that was ended left mounted. */
	for (i = 0; i < gt_workers() * POINTS; i++) {
		snprintf(path, sizeof(path), "%s/m%u.%u", base, i / POINTS, i % POINTS);
		while (!umount2(path, MNT_DETACH))
			;
	}
	gt_cgroup_remove_below(gt_cgroup());
	drained = gt_cgroup_drain(gt_cgroup(), 60);
}

static void teardown(void)
{
	if (!base[0])
		return;
	umount2(base, MNT_DETACH);
	rmdir(base);
}

static bool all_ran(void)
{
	return gt_figure(MOUNTS) && gt_figure(MOUNTS_OVERLAY) && gt_figure(VISITS) && gt_figure(ADDED) &&
	       (!failslab || gt_figure(FAILED_MOUNTS));
}

static bool mounts_good(void)
{
	return gt_figure(BAD) == 0 && gt_figure(BUSY) == 0;
}

static bool superblocks_back(void)
{
	double until = gt_now() + 10;
	int now;

	while ((now = superblocks()) > shrinkers_before && gt_now() < until)
		gt_sleep(0.1);
	gt_note("superblocks=%d before=%d", now, shrinkers_before);
	return now >= 0 && now <= shrinkers_before;
}

static bool nothing_left_dying(void)
{
	return drained && gt_read_key(gt_cgroup(), "cgroup.stat", "nr_descendants") == 0;
}

static const struct gt_role roles[] = {
	{ .name = "mounter", .begin = mount_begin, .cycle = mount_cycle },
	{ .name = "maker", .begin = actor_begin, .cycle = make },
	{ .name = "failer", .begin = fail_begin, .cycle = fail_cycle },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "all_ran", all_ran },
	{ "mounts_good", mounts_good },
	{ "superblocks_back", superblocks_back },
	{ "nothing_left_dying", nothing_left_dying },
	{ "no_oom_kill", gt_no_oom_kill },
	{ "rates_measured", rates_measured },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "lru_mount",
	.stresses = "list_lrus of superblocks that come and go while memcgs come and go",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
