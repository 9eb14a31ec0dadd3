// SPDX-License-Identifier: MIT
/*
 * Charges that live longer than their memcg, in all the ways that memory has of doing so.
 *
 * Path: try_charge_memcg() and uncharge_folio() (mm/memcontrol.c) with all that stands between them.  A page
 * that is swapped out keeps the id of its memcg (mem_cgroup_id_get_many, swap_cgroup_record) until its entry
 * is freed, read back or taken by swapoff; one that zswap has compressed keeps an objcg.  A page can be
 * migrated, a huge page be half unmapped and wait on its memcg's queue to be split, a file's page be mapped
 * from another memcg, a dirty one be written back by the memcg's own flusher (cgwb) after the memcg is
 * gone.  The OOM killer ends all tasks of a memcg (memory.oom.group).  Tasks are moved while they charge.
 * A CPU that goes away leaves its stocks of charges and its statistics behind (memcg_hotplug_cpu_dead).
 * And a memcg may fail to be made, at each of its allocations.
 *
 *	<own cgroup>
 *	  h<n>			home of an actor
 *	  t<n>/<leaf>		cgroups whose memcgs come and go with cgroup.subtree_control
 *	  i<n>/<leaf>		the same, many: each of their memcgs is left with one swapped page, and with an id
 *	  f<n>			made, or given memcgs below, while the nth allocation fails: n = 1, 2, 3 and so on until
 *				all of it went through without a failure
 *
 * Actors enter one memcg after the other and have things charged there.  While the memcgs go offline, an
 * actor's helper, which shares the actor's memory and open files, gives the things back from another CPU, at
 * moments drawn from the time that the last batch took to go offline.  Disturbers turn swap off and on,
 * reclaim, compact, move actors that are charging, take a CPU and blocks of memory away and give
 * them back.  A cycle is a memcg that was made, used and taken away.
 *
 * A bug: any splat; a memcg still dying at the end, or usage, swap or zswap usage that does not come back; a
 * cgroup that is there although mkdir failed; an OOM kill that was not asked for, or one that was and did not
 * happen; a CPU or memory that does not come back.
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
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/gt.h"

#define IMAGE		"/share/ext4"	/* blocks that are not zero, each behind its number (u64) */
#define IMAGE_BLOCK	1024
#define DISK		"/dev/ram4"
#define SWAP		"/dev/zram0"
#define CPU		"/sys/devices/system/cpu/cpu1/online"
#define MEMORY		"/sys/devices/system/memory"

#define PAGE		4096L
#define PAGES		32		/* of a thing */
#define HUGE		(2L << 20)
#define MANY		6		/* memcgs of a batch */
#define THINGS		2		/* most that is charged to one of them */
#define IDS		24		/* memcgs that are left with an id */
#define FAULTS		8		/* allocations that fail in a batch */
#define ACTORS		64
#define HELPER_STACK	(64 << 10)
#define MOVE_MF		2		/* MPOL_MF_MOVE, include/uapi/linux/mempolicy.h */

enum kind { SWAPPED, ZSWAPPED, TMPFS, THP, MIGRATED, MOVED, WRITTEN, OOMS, KINDS };
enum { ID_BATCHES = KINDS, FAILED, SWEEPS, SWAPOFFS, RECLAIMS, CPUS, MEMORY_TRIES, MEMORY_BLOCKS };

static const char *const figures[] = {
	"swapped", "zswapped", "tmpfs", "thp", "migrated", "moved", "written", "ooms", "id_batches", "failed",
	"sweeps", "swapoffs", "reclaims", "cpus", "memory_tries", "memory_blocks", NULL,
};

enum { RELEASE_OFFLINE, RELEASE_SWAPOFF, CHARGE_MOVE, CHARGE_CPU };
static const struct gt_window windows[] = {
	[RELEASE_OFFLINE] = { "release_offline", { "release", "offline" } },
	[RELEASE_SWAPOFF] = { "release_swapoff", { "release", "swapoff" } },
	[CHARGE_MOVE] = { "charge_move", { "charge", "move" } },
	[CHARGE_CPU] = { "charge_cpu_off", { "charge", "cpu_off" } },
	{ NULL, { NULL, NULL } },
};

/* What a memcg was charged for, and how to give it back. */
struct thing {
	enum kind kind;
	char *memory;
	size_t size;
	int fd;
	unsigned int number;	/* of a file */
	unsigned int dice;	/* how it is given back */
	double at;		/* seconds into the batch */
};

struct list {
	_Atomic unsigned int told, done;
	unsigned int n;
	struct thing things[MANY * THINGS];
};

/* By all workers. */
enum { STILL, MOVABLE, MOVING };
static struct shared {
	_Atomic int movable[ACTORS];
	_Atomic int pid[ACTORS];
	_Atomic unsigned int moves[ACTORS];
	_Atomic int charging, offline;		/* actors that are at it, actors whose memcgs go offline now */
	_Atomic unsigned int nth[2];		/* the last allocation that failed, in mkdir and in +memory */
	_Atomic bool begun[2];
} *shared;

struct actor {
	unsigned int index, cpu;
	int many, ids;
	char home[16];
	double offline;		/* seconds that the last batch took to go offline */
	struct list list;
	char *id_pages;		/* of the last batch of ids */
	int fail_nth;		/* /proc/self/fail-nth, or -1 */
	unsigned int number;
	unsigned int kinds;	/* that have had their turn */
	unsigned int cycles;
};

static char base[64];		/* ext4 */

/* --- before ------------------------------------------------------------------------------------------ */

static bool write_image(void)
{
	struct {
		uint64_t number;
		char data[IMAGE_BLOCK];
	} __attribute__((packed)) block;
	int from = open(IMAGE, O_RDONLY | O_CLOEXEC), to = open(DISK, O_WRONLY | O_CLOEXEC);
	bool good = from >= 0 && to >= 0;

	while (good && read(from, &block, sizeof(block)) == sizeof(block))
		good = pwrite(to, block.data, IMAGE_BLOCK, (off_t)block.number * IMAGE_BLOCK) == IMAGE_BLOCK;
	good = good && !fsync(to);
	if (!good)
		gt_note("%s cannot be written to %s: %s", IMAGE, DISK, strerror(errno));
	close(from);
	close(to);
	return good;
}

/* Let all allocations fail, those that may sleep too, and say nothing of it: only where fail-nth says so. */
static void arm_faults(bool on)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	unsigned int i;

	for (i = 0; i < GT_ARRAY(kinds); i++) {
		char path[96];

		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/ignore-gfp-wait", kinds[i]);
		gt_write(AT_FDCWD, path, on ? "N" : "Y");
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose", kinds[i]);
		gt_write(AT_FDCWD, path, on ? "0" : "2");
	}
	gt_write(AT_FDCWD, "/sys/kernel/debug/fail_page_alloc/min-order", on ? "0" : "1");
}

static bool mounted(void)
{
	if (!mount(DISK, base, "ext4", 0, NULL))
		return true;
	gt_note("ext4 on %s: %s", base, strerror(errno));
	return false;
}

static bool setup(void)
{
	/* A mount of our own: when the program is killed it goes with its last process. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		gt_note("no mount namespace: %s", strerror(errno));
		return false;
	}
	snprintf(base, sizeof(base), "/mnt/charge_life.%d", getpid());
	if (!write_image())
		return false;
	if (mkdir(base, 0755) || !mounted())
		return false;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		gt_note("no memory");
		return false;
	}
	/* Touched here, its page is not charged to a memcg that will die. */
	memset(shared, 0, sizeof(*shared));
	arm_faults(true);
	return true;
}

/* --- things -------------------------------------------------------------------------------------------- */

static char *memory_of(size_t size, int more)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0);

	if (memory == MAP_FAILED)
		gt_die("no memory: %s", strerror(errno));
	return memory;
}

/* Pages of zeros are not stored by swap. */
static void touch(char *memory, size_t size, unsigned int pattern)
{
	size_t at;

	for (at = 0; at < size; at += PAGE)
		memset(memory + at, (int)(pattern + at / PAGE) | 1, 128);
}

static void charge_swap(struct actor *a, const char *leaf, struct thing *t)
{
	char path[48];

	snprintf(path, sizeof(path), "%s/memory.zswap.max", leaf);
	if (t->kind == SWAPPED)
		gt_write(a->many, path, "0");
	t->size = PAGES * PAGE;
	t->memory = memory_of(t->size, 0);
	touch(t->memory, t->size, t->dice);
	/* It may fail while swap is off. */
	madvise(t->memory, t->size, MADV_PAGEOUT);
}

/* Half of the file's pages are charged here; the other half is to whoever maps it when it is given back. */
static void charge_tmpfs(struct thing *t)
{
	t->fd = memfd_create("life", MFD_CLOEXEC);
	t->size = PAGES * PAGE;
	if (t->fd < 0 || ftruncate(t->fd, (off_t)t->size))
		gt_die("memfd: %s", strerror(errno));
	t->memory = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
	if (t->memory == MAP_FAILED)
		gt_die("memfd: %s", strerror(errno));
	touch(t->memory, t->size / 2, t->dice);
	if (t->dice & 4)
		madvise(t->memory, t->size, MADV_PAGEOUT);
}

static void charge_thp(struct thing *t)
{
	char *huge;

	t->size = 2 * HUGE;
	t->memory = memory_of(t->size, MAP_NORESERVE);
	madvise(t->memory, t->size, MADV_HUGEPAGE);
	huge = (char *)(((uintptr_t)t->memory + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	touch(huge, PAGE, t->dice);
	/* Half unmapped, it goes to the memcg's queue of pages to be split. */
	if (t->dice & 1)
		madvise(huge, HUGE / 2, MADV_DONTNEED);
}

static void charge_written(struct actor *a, struct thing *t)
{
	static const char data[4 * PAGE];
	char path[96];

	t->number = a->number++;
	snprintf(path, sizeof(path), "%s/%u.%u", base, a->index, t->number);
	t->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (t->fd < 0)
		gt_die("%s: %s", path, strerror(errno));
	if (write(t->fd, data, sizeof(data)) < 0)
		gt_note("%s: %s", path, strerror(errno));
	/* Writing it back is started by the memcg's own flusher. */
	if (t->dice & 1)
		sync_file_range(t->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* Charge while a disturber moves this process from one memcg to another. */
static void charge_moved(struct actor *a, struct thing *t)
{
	double from = gt_now();
	unsigned int moves = atomic_load(&shared->moves[a->index]);
	_Atomic int *state = &shared->movable[a->index];
	int expect;

	t->size = PAGES * PAGE;
	t->memory = memory_of(t->size, 0);
	atomic_store(state, MOVABLE);
	gt_enter(CHARGE_MOVE, 0);
	do {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		touch(t->memory, t->size, t->dice);
		madvise(t->memory, t->size, MADV_DONTNEED);
		close(fd);
		/* For as long, and for a little longer while nobody comes. */
	} while (gt_now() < from + (atomic_load(&shared->moves[a->index]) == moves ? 0.4 : 0.05) && !gt_over());
	touch(t->memory, t->size, t->dice);
	gt_leave(CHARGE_MOVE, 0);
	for (expect = MOVABLE; !atomic_compare_exchange_weak(state, &expect, STILL); expect = MOVABLE)
		sched_yield();
}

/* Two processes in a memcg that is too small for one of them: both are to be killed. */
static void kill_by_oom(struct actor *a, const char *leaf)
{
	static const char *const settings[][2] = {
		{ "memory.max", "2M" }, { "memory.swap.max", "0" }, { "memory.oom.group", "1" },
	};
	pid_t pids[2], self = getpid();
	unsigned int i, killed = 0;
	char path[48];

	for (i = 0; i < GT_ARRAY(settings); i++) {
		snprintf(path, sizeof(path), "%s/%s", leaf, settings[i][0]);
		if (gt_write(a->many, path, "%s", settings[i][1]))
			gt_die("%s cannot be set", path);
	}
	snprintf(path, sizeof(path), "%s/cgroup.procs", leaf);
	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			/* The one that asks for more comes second, when the first one is in. */
			while (getppid() == self && (!i || !gt_cgroup_enter(a->many, leaf)))
				if (i)
					touch(memory_of(8 << 20, 0), 8 << 20, i);
				else
					gt_sleep(1);
			_exit(1);
		}
		if (pids[i] < 0 || (!i && gt_write(a->many, path, "%d", pids[i])))
			gt_die("there is nobody to be killed in %s", leaf);
	}
	for (i = 0; i < 2; i++) {
		int status = 0;

		while (waitpid(pids[i], &status, 0) < 0 && errno == EINTR)
			;
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			killed++;
	}
	if (killed != 2)
		gt_note("%u of 2 were killed", killed);
	gt_count(OOMS, killed == 2);
}

static void charge(struct gt_worker *w, const char *leaf, struct thing *t)
{
	struct actor *a = w->own;

	t->fd = -1;
	t->dice = gt_random_below(&w->random, 64);
	switch (t->kind) {
	case SWAPPED:
	case ZSWAPPED:
		charge_swap(a, leaf, t);
		break;
	case TMPFS:
		charge_tmpfs(t);
		break;
	case THP:
		charge_thp(t);
		break;
	case MIGRATED:
		t->size = PAGES * PAGE;
		t->memory = memory_of(t->size, 0);
		touch(t->memory, t->size, t->dice);
		break;
	case MOVED:
		charge_moved(a, t);
		break;
	case WRITTEN:
		charge_written(a, t);
		break;
	case OOMS:
	case KINDS:
		return;
	}
	gt_count(t->kind, 1);
}

static void migrate(const struct thing *t)
{
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		pages[i] = t->memory + i * PAGE;
		nodes[i] = (int)(t->dice + i) % 2;
	}
	/* A machine may have one node only. */
	syscall(SYS_move_pages, 0, (unsigned long)PAGES, pages, nodes, status, MOVE_MF);
}

/* Give back; in the helper. */
static void release(struct actor *a, const struct thing *t)
{
	char path[96];
	size_t at;

	gt_enter(RELEASE_OFFLINE, 0);
	gt_enter(RELEASE_SWAPOFF, 0);
	switch (t->kind) {
	case SWAPPED:
	case ZSWAPPED:
		/* Read half of it back. */
		for (at = 0; t->dice & 1 && at < t->size / 2; at += PAGE)
			*(volatile char *)(t->memory + at);
		break;
	case TMPFS:
		touch(t->memory + t->size / 2, t->size / 2, t->dice);
		if (t->dice & 1)
			gt_count(TMPFS, ftruncate(t->fd, 0) == 0);
		break;
	case MIGRATED:
		migrate(t);
		break;
	case WRITTEN:
		snprintf(path, sizeof(path), "%s/%u.%u", base, a->index, t->number);
		if (t->dice & 2)
			fsync(t->fd);
		if (t->dice & 8)
			posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
		if (unlink(path))
			gt_note("%s: %s", path, strerror(errno));
		break;
	default:
		break;
	}
	if (t->memory)
		munmap(t->memory, t->size);
	if (t->fd >= 0)
		close(t->fd);
	gt_leave(RELEASE_SWAPOFF, 0);
	gt_leave(RELEASE_OFFLINE, 0);
}

/* --- actors --------------------------------------------------------------------------------------------- */

static int help(void *of)
{
	struct gt_worker *w = of;
	struct actor *a = w->own;
	struct list *list = &a->list;
	cpu_set_t set;
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* On any CPU but the actor's, where there is another. */
	CPU_ZERO(&set);
	for (i = 0; i < CPU_SETSIZE; i++)
		if (i != w->cpu)
			CPU_SET(i, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (;;) {
		double from;

		while (atomic_load(&list->done) == atomic_load(&list->told))
			gt_sleep(0.001);
		from = gt_now();
		for (i = 0; i < list->n; i++) {
			double wait = from + list->things[i].at - gt_now();

			if (wait > 0)
				gt_sleep(wait);
			release(a, &list->things[i]);
		}
		atomic_fetch_add(&list->done, 1);
	}
	return 0;
}

static void go_home(struct actor *a)
{
	if (gt_cgroup_enter(gt_cgroup(), a->home))
		gt_die("%s cannot be entered", a->home);
	/* A task keeps the objcg that it charged last until it charges the next (current_objcg_update). */
	close(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static void actor_begin(struct gt_worker *w)
{
	struct actor *a = calloc(1, sizeof(*a));
	char name[16];
	int home;

	if (!a)
		gt_die("no memory");
	w->own = a;
	a->index = w->index % ACTORS;
	a->cpu = w->cpu;
	a->offline = 0.1;
	a->fail_nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	snprintf(a->home, sizeof(a->home), "h%u", w->index);
	home = gt_cgroup_make(gt_cgroup(), a->home, false);
	snprintf(name, sizeof(name), "t%u", w->index);
	a->many = gt_cgroup_make_many(gt_cgroup(), name, MANY);
	snprintf(name, sizeof(name), "i%u", w->index);
	a->ids = gt_cgroup_make_many(gt_cgroup(), name, IDS);
	if (home < 0 || a->many < 0 || a->ids < 0)
		gt_die("an actor's cgroups cannot be made");
	close(home);
	go_home(a);
	atomic_store(&shared->pid[a->index], getpid());
	if (clone(help, memory_of(HELPER_STACK, MAP_POPULATE) + HELPER_STACK, CLONE_VM | CLONE_FILES | SIGCHLD, w) < 0)
		gt_die("no helper: %s", strerror(errno));
	gt_cgroup_memory(a->many, "+memory");
}

static int by_time(const void *a, const void *b)
{
	double x = ((const struct thing *)a)->at, y = ((const struct thing *)b)->at;

	return x < y ? -1 : x > y;
}

static void fill_batch(struct gt_worker *w)
{
	struct actor *a = w->own;
	struct list *list = &a->list;
	unsigned int i, n;
	char leaf[16];

	list->n = 0;
	atomic_fetch_add(&shared->charging, 1);
	gt_enter(CHARGE_CPU, 0);
	for (i = 0; i < MANY; i++) {
		snprintf(leaf, sizeof(leaf), "%u", i);
		/* It takes long and says much on the console. */
		if (gt_random_one_in(&w->random, 48) || (!gt_figure(OOMS) && !i)) {
			kill_by_oom(a, leaf);
			continue;
		}
		if (gt_cgroup_enter(a->many, leaf))
			gt_die("%s cannot be entered", leaf);
		for (n = 1 + gt_random_below(&w->random, THINGS); n; n--) {
			struct thing t = { .kind = gt_random_below(&w->random, OOMS) };

			/* Any, once each of them has had its turn. */
			if (a->kinds < OOMS)
				t.kind = a->kinds++;
			charge(w, leaf, &t);
			/* From a little before the first goes offline to a little after the last. */
			t.at = a->offline * gt_random_below(&w->random, 1200) / 1000.0;
			list->things[list->n++] = t;
		}
		/* Not back to where a disturber has moved it. */
		go_home(a);
	}
	gt_leave(CHARGE_CPU, 0);
	atomic_fetch_sub(&shared->charging, 1);
	qsort(list->things, list->n, sizeof(list->things[0]), by_time);
}

static void wait_for_helper(struct actor *a)
{
	while (atomic_load(&a->list.done) != atomic_load(&a->list.told))
		gt_sleep(0.001);
}

static void act_on_batch(struct gt_worker *w)
{
	struct actor *a = w->own;
	double from;

	fill_batch(w);
	atomic_fetch_add(&a->list.told, 1);
	from = gt_now();
	atomic_fetch_add(&shared->offline, 1);
	gt_enter(RELEASE_OFFLINE, 1);
	gt_cgroup_memory(a->many, "-memory");
	/* Returns when all of them are offline. */
	gt_cgroup_memory(a->many, "+memory");
	gt_leave(RELEASE_OFFLINE, 1);
	a->offline = gt_now() - from;
	wait_for_helper(a);
	atomic_fetch_sub(&shared->offline, 1);
	gt_cycles(MANY);
}

/* Leave many memcgs with one swapped page; free what the last such batch left, and so its ids. */
static void act_on_ids(struct gt_worker *w)
{
	struct actor *a = w->own;
	char *pages = memory_of(IDS * PAGE, 0), *before = a->id_pages;
	unsigned int i;
	char leaf[16];

	gt_cgroup_memory(a->ids, "+memory");
	for (i = 0; i < IDS; i++) {
		snprintf(leaf, sizeof(leaf), "%u", i);
		if (gt_cgroup_enter(a->ids, leaf))
			gt_die("%s cannot be entered", leaf);
		touch(pages + i * PAGE, PAGE, i);
	}
	go_home(a);
	madvise(pages, IDS * PAGE, MADV_PAGEOUT);
	gt_cgroup_memory(a->ids, "-memory");
	a->id_pages = pages;
	/* In any order: an id goes with its memcg's last page. */
	for (i = 0; before && i < IDS; i++) {
		uint32_t at = gt_random_below(&w->random, IDS);

		munmap(before + at * PAGE, PAGE);
	}
	if (before)
		munmap(before, IDS * PAGE);
	gt_count(ID_BATCHES, 1);
	gt_cycles(IDS);
}

/* Whether the nth allocation from now on was reached, and so failed. */
static bool disarm(struct actor *a)
{
	char text[16] = "";
	bool reached = pread(a->fail_nth, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	if (pwrite(a->fail_nth, "0", 1, 0) != 1)
		gt_die("fail-nth cannot be written: %s", strerror(errno));
	return reached;
}

static void arm(struct actor *a, unsigned int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(a->fail_nth, text, (size_t)length, 0) != length)
		gt_die("fail-nth cannot be written: %s", strerror(errno));
}

/* A cgroup with a memcg is made while its nth allocation fails. */
static bool fail_mkdir(struct actor *a, const char *name, unsigned int n)
{
	bool reached, made;

	arm(a, n);
	made = !mkdirat(gt_cgroup(), name, 0755);
	reached = disarm(a);
	if (!made && !faccessat(gt_cgroup(), name, F_OK, 0))
		gt_die("%s is there although mkdir failed", name);
	if (!made && !reached)
		gt_die("%s: %s, and no allocation failed", name, strerror(errno));
	if (made && gt_cgroup_remove(gt_cgroup(), name))
		gt_die("%s cannot be removed", name);
	return reached;
}

/* The same for the memcg of a cgroup that is there. */
static bool fail_toggle(struct actor *a, const char *name, unsigned int n)
{
	int folder = gt_cgroup_make_many(gt_cgroup(), name, 1), fd;
	bool reached, made;

	fd = folder < 0 ? folder : openat(folder, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		gt_die("%s: %s", name, strerror(-fd));
	arm(a, n);
	made = write(fd, "+memory", 7) == 7;
	reached = disarm(a);
	if (!made && !faccessat(folder, "0/memory.current", F_OK, 0))
		gt_die("%s has a memcg although it failed", name);
	if (!made && !reached)
		gt_die("%s: %s, and no allocation failed", name, strerror(errno));
	close(fd);
	gt_cgroup_remove_below(folder);
	close(folder);
	if (gt_cgroup_remove(gt_cgroup(), name))
		gt_die("%s cannot be removed", name);
	return reached;
}

static void act_on_faults(struct gt_worker *w)
{
	struct actor *a = w->own;
	unsigned int i, which = gt_random_below(&w->random, 2);
	_Atomic unsigned int *nth = &shared->nth[which];
	char name[16];

	/* A sweep is longer than a short run: seeds begin at different places. */
	if (!atomic_exchange(&shared->begun[which], true))
		atomic_store(nth, gt_random_below(&w->random, 128));
	snprintf(name, sizeof(name), "f%u", a->index);
	for (i = 0; i < FAULTS && !gt_over(); i++) {
		unsigned int n = atomic_fetch_add(nth, 1) + 1;

		if (which ? fail_toggle(a, name, n) : fail_mkdir(a, name, n)) {
			gt_count(FAILED, 1);
		} else {
			/* All of it went through: begin again. */
			atomic_store(nth, 0);
			gt_count(SWEEPS, 1);
		}
	}
	gt_cycles(FAULTS);
}

static void act(struct gt_worker *w)
{
	struct actor *a = w->own;
	uint32_t dice = gt_random_below(&w->random, 8);
	cpu_set_t set;

	/* A CPU that was away has lost its workers. */
	CPU_ZERO(&set);
	CPU_SET(a->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);

	/* Each of them, however slow the machine, and first what disturbers wait for. */
	if (dice > 2 || !a->cycles++)
		act_on_batch(w);
	if (!dice || !gt_figure(ID_BATCHES))
		act_on_ids(w);
	if (a->fail_nth >= 0 && (dice == 1 || dice == 2 || !gt_figure(FAILED)))
		act_on_faults(w);
}

static void actor_end(struct gt_worker *w)
{
	struct actor *a = w->own;

	atomic_store(&shared->pid[a->index], 0);
	if (a->id_pages)
		munmap(a->id_pages, IDS * PAGE);
}

/* --- disturbers ------------------------------------------------------------------------------------------- */

static void move_actors(struct gt_worker *w)
{
	unsigned int i, n;

	for (i = 0; i < ACTORS; i++) {
		int expect = MOVABLE;
		char path[48];

		if (!atomic_compare_exchange_strong(&shared->movable[i], &expect, MOVING))
			continue;
		gt_enter(CHARGE_MOVE, 1);
		for (n = 0; n < 4; n++) {
			snprintf(path, sizeof(path), "t%u/%u/cgroup.procs", i, gt_random_below(&w->random, MANY));
			if (gt_write(gt_cgroup(), path, "%d", atomic_load(&shared->pid[i])))
				gt_note("actor %u cannot be moved", i);
		}
		gt_leave(CHARGE_MOVE, 1);
		atomic_fetch_add(&shared->moves[i], 1);
		atomic_store(&shared->movable[i], MOVABLE);
	}
}

/* Until an actor is where it is to be disturbed; meanwhile those that want to be moved are. */
static void wait_for(struct gt_worker *w, _Atomic int *actors)
{
	double until = gt_now() + 4;

	while (!atomic_load(actors) && gt_now() < until && !gt_over()) {
		move_actors(w);
		gt_sleep(0.001);
	}
}

static void swap_off_and_on(struct gt_worker *w)
{
	wait_for(w, &shared->offline);
	gt_enter(RELEASE_SWAPOFF, 1);
	if (!swapoff(SWAP))
		gt_count(SWAPOFFS, 1);
	gt_leave(RELEASE_SWAPOFF, 1);
	if (swapon(SWAP, 0) && errno != EBUSY)
		gt_note("no swap on %s: %s", SWAP, strerror(errno));
}

static void cpu_off_and_on(struct gt_worker *w)
{
	wait_for(w, &shared->charging);
	gt_enter(CHARGE_CPU, 1);
	if (!gt_write(AT_FDCWD, CPU, "0"))
		gt_count(CPUS, 1);
	gt_leave(CHARGE_CPU, 1);
	if (gt_write(AT_FDCWD, CPU, "1"))
		gt_note("the CPU does not come back");
}

static void on_alarm(int number)
{
	(void)number;
}

/* A block of memory: what is in use there is migrated, and what cannot be makes it fail. */
static void memory_off_and_on(struct gt_worker *w)
{
	static const struct itimerval soon = { .it_value.tv_sec = 2 }, never;
	char path[96];


	/* Below is what the kernel was loaded to, and above is no memory on a small machine. */
	snprintf(path, sizeof(path), MEMORY "/memory%u/online", 2 + gt_random_below(&w->random, 9));
	if (access(path, W_OK))
		return;
	gt_count(MEMORY_TRIES, 1);
	setitimer(ITIMER_REAL, &soon, NULL);
	if (!gt_write(AT_FDCWD, path, "0"))
		gt_count(MEMORY_BLOCKS, 1);
	setitimer(ITIMER_REAL, &never, NULL);
	if (gt_write(AT_FDCWD, path, "1"))
		gt_note("%s does not come back", path);
}

struct disturber {
	unsigned int cycle;
};

static void disturb_begin(struct gt_worker *w)
{
	struct sigaction action = { .sa_handler = on_alarm };

	w->own = calloc(1, sizeof(struct disturber));
	if (!w->own)
		gt_die("no memory");
	sigaction(SIGALRM, &action, NULL);
}

static void disturb(struct gt_worker *w)
{
	struct disturber *d = w->own;
	unsigned int i, cycle = d->cycle++;
	uint32_t dice = gt_random_below(&w->random, 64);

	for (i = 0; i < 16; i++) {
		move_actors(w);
		gt_sleep(gt_random_below(&w->random, 8) / 1000.0);
	}
	/* One CPU and one machine's memory: the first disturber only; each once early, then now and then. */
	if (!w->rank && (cycle == 1 || dice < 2)) {
		cpu_off_and_on(w);
	} else if (!w->rank && (cycle == 3 || dice < 4)) {
		memory_off_and_on(w);
	} else if (!w->rank && (!(cycle % 2) || dice < 20)) {
		swap_off_and_on(w);
	} else if (dice < 56) {
		gt_write(gt_cgroup(), "memory.reclaim", "256K");
		gt_count(RECLAIMS, 1);
	} else if (dice < 60) {
		gt_write(AT_FDCWD, "/proc/sys/vm/compact_memory", "1");
	} else {
		gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "1");
	}
}

/* --- afterwards ---------------------------------------------------------------------------------------------- */

static bool drained = true, machine_back = true;

/* What a disturber that was killed has left off. */
static void bring_back(void)
{
	struct dirent *entry;
	char text[1024];
	DIR *blocks;

	if (!access(CPU, W_OK) && gt_read_number(AT_FDCWD, CPU) != 1 && gt_write(AT_FDCWD, CPU, "1"))
		machine_back = false;
	blocks = opendir(MEMORY);
	while (blocks && (entry = readdir(blocks))) {
		char path[300];

		snprintf(path, sizeof(path), "%s/online", entry->d_name);
		if (!strncmp(entry->d_name, "memory", 6) && gt_read_number(dirfd(blocks), path) == 0 &&
		    gt_write(dirfd(blocks), path, "1"))
			machine_back = false;
	}
	if (blocks)
		closedir(blocks);
	if (gt_read(AT_FDCWD, "/proc/swaps", text, sizeof(text)) > 0 && !strchr(text, '/') && swapon(SWAP, 0))
		machine_back = false;
	if (!machine_back)
		gt_note("a CPU, memory or swap does not come back: %s", strerror(errno));
}

static void settle(void)
{
	DIR *files;
	struct dirent *entry;

	bring_back();
	memset(shared->movable, 0, sizeof(shared->movable));
	atomic_store(&shared->offline, 0);
	atomic_store(&shared->charging, 0);
	files = opendir(base);
	while (files && (entry = readdir(files)))
		if (strchr(entry->d_name, '.') && entry->d_name[0] != '.')
			unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		closedir(files);
	/* Buffers of its metadata are charged to whoever came first, and the journal holds on to them. */
	if (umount(base))
		gt_note("%s: %s", base, strerror(errno));
	gt_cgroup_remove_below(gt_cgroup());
	drained = gt_cgroup_drain(gt_cgroup(), 60) && drained;
	mounted();
}

static bool all_kinds_charged(void)
{
	bool good = true;
	int i;

	for (i = 0; i <= ID_BATCHES; i++) {
		if (gt_figure(i))
			continue;
		gt_note("no %s", figures[i]);
		good = false;
	}
	return good;
}

static bool allocations_failed(void)
{
	if (access("/proc/self/fail-nth", W_OK)) {
		gt_note("this kernel has no fail-nth");
		return true;
	}
	return gt_figure(FAILED) > 0;
}

static bool nothing_left_dying(void)
{
	return drained && gt_read_key(gt_cgroup(), "cgroup.stat", "nr_descendants") == 0;
}

/* What is left is our own: the cgroup's data and charges that CPUs keep for the next time. */
static bool counters_back(void)
{
	return gt_charges_back(1 << 20);
}

/* Two in each memcg that was made too small, where the first one killed may count twice, and no other. */
static bool oom_kills_as_asked(void)
{
	long long kills = gt_read_key(gt_cgroup(), "memory.events", "oom_kill");

	gt_note("oom_kill=%lld", kills);
	return kills >= 2 * (long long)gt_figure(OOMS) && kills <= 3 * (long long)gt_figure(OOMS);
}

static bool machine_is_back(void)
{
	return machine_back;
}

static void teardown(void)
{
	arm_faults(false);
	if (umount(base))
		gt_note("%s: %s", base, strerror(errno));
	rmdir(base);
}

static const struct gt_role roles[] = {
	{ .name = "actor", .begin = actor_begin, .cycle = act, .end = actor_end },
	{ .name = "disturber", .begin = disturb_begin, .cycle = disturb },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "all_kinds_charged", all_kinds_charged },
	{ "allocations_failed", allocations_failed },
	{ "nothing_left_dying", nothing_left_dying },
	{ "counters_back", counters_back },
	{ "oom_kills_as_asked", oom_kills_as_asked },
	{ "machine_back", machine_is_back },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "charge_life",
	.stresses = "charges of every kind that outlive their memcg: swap, zswap, OOM, migration, THP, cgwb, hotplug",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
