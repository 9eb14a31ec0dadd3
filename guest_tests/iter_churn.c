// SPDX-License-Identifier: MIT
/*
 * Reclaim walks from every level of a deep and wide hierarchy while its memcgs die and are born.
 *
 * Path: mem_cgroup_iter() with a cookie (mm/memcontrol.c) below shrink_node_memcgs() (mm/vmscan.c).
 * Every memcg has one iterator a node for the walks that begin at it: a position, shared by all who
 * walk from there, and a generation.  Walks are bound to memcgs by memory.reclaim, by a
 * memory.high that is lowered, by charges above memory.high and memory.max, and to the root by
 * want of free memory on all nodes (only with the classic LRU: MGLRU keeps a list of memcgs for that, so
 * every second round goes without it).
 *
 *	<own cgroup>			walked from; so is every other name here
 *	  s0, s1			sides: one with memory.high, one with memory.max
 *	    l0/l1/l2			levels that stay
 *	      h<n>			home of a churner between two batches
 *	      w<n>/<leaf>		wide: eight cgroups whose memcgs come and go
 *	      c<n>/0/0/0		deep: the same for a chain, whose memcgs are walked from too
 *	      b<n>/<leaf>		born: made and removed with all they have
 *
 * A churner (a cycle is a memcg) makes a batch, fills some of it with page cache and pins others with
 * memory that it keeps, and lets all of it go at once, pins last.  What has page cache is scraped by
 * the next walk, which stops there as its goal is reached: the position is left on a memcg that has just
 * lost what held it.
 *
 * Reclaimers, one on each CPU and so one on each node, are told where dead memcgs with page cache are. They
 * walk from somewhere above, in turn alone and two from the same memcg at the same moment, and some come
 * back when what was scraped has been freed.
 *
 * A bug: any splat; a walk that takes out of all measure longer than its peers, in CPU time (it never
 * ends, or begins anew for ever); a memcg that is still dying when nothing of it is left (an iterator
 * keeps it); an OOM kill (all that is here can be reclaimed); a pin that does not count back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "lib/gt.h"

#define SIDES		2
#define DEPTH		3		/* levels of a side that stay */
#define PLACES		(SIDES * (DEPTH + 1))
#define WIDE		8
#define CHAIN		4
#define BORN		4
#define PAGE		4096L
#define FILL_PAGES	32		/* SWAP_CLUSTER_MAX: one walk's goal */
#define DISK		"/dev/ram0"
#define DISK_BYTES	(192L << 20)
#define DYING_MOST	256		/* above that a churner helps to reclaim */
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define SPARE_MB	48		/* free memory that is left when it is made scarce */
#define PATIENCE	30		/* seconds that dead memcgs have to go when nothing is left of them */
#define MPOL_PREFERRED	1		/* include/uapi/linux/mempolicy.h */
/* Seconds of CPU time that no walk may take, and how many times the mean of all. */
#define WALK_MOST	15.0
#define WALK_TIMES	100.0

enum { WALK_RELEASE, WALK_WALK };
enum { WALK, RELEASE };

static const struct gt_window windows[] = {
	[WALK_RELEASE] = { "walk_release", { "walk", "release" } },
	[WALK_WALK] = { "walk_walk", { "first", "second" } },
	{ NULL, { NULL, NULL } },
};

enum { WALKS, WALKS_SHORT, LOWERED, SCARCE, LEAD, DYING_ROOTS, WIDES, CHAINS, BORNS, PAGES, LONGEST_MS };

static const char *const figures[] = {
	"walks", "walks_short", "lowered", "scarce", "paired", "dying_roots", "wides", "chains", "borns", "pages",
	"longest_ms", NULL,
};

static int places[PLACES];		/* open folders: a side, then its levels */
static char folder[64];			/* for dentries and inodes, on tmpfs */
static char lru_gen[16];		/* what it was */
static bool drained = true;

/* By all workers. */
static struct shared {
	_Atomic int prey[PLACES];	/* dead memcgs with page cache, by where they stood */
	_Atomic unsigned int ready;	/* churners that ever had a batch to remove */
	_Atomic unsigned int turn;	/* walks that two are to begin together */
	_Atomic unsigned int come;	/* the turn that the second has come for */
	_Atomic int target;		/* and where: a place, or -1 for the own cgroup */
	_Atomic bool far;		/* and whether to go all the way */
	_Atomic unsigned long walk_us, walks, longest_us;
} *shared;

struct churner {
	int side, wide_at, chain_at;	/* places */
	char home[16];
	int wide, chain[CHAIN];
	int disk;
	off_t from, to, at;		/* its part of the disk, and the place that is read next */
	unsigned int born;
	unsigned int cached;		/* memcgs of this batch with page cache */
	unsigned int cached_before;	/* and of the batch before, which stood here: */
	int place_before;
	unsigned int nodes[64], nodes_n;	/* with memory */
	struct {
		void *memory;		/* or NULL: */
		int fd;
	} kept[WIDE];
	unsigned int kept_n;
};

static int place_of(int side, int level)
{
	return side * (DEPTH + 1) + level;
}

static bool setup(void)
{
	int side, level, error;
	char *end;

	for (side = 0; side < SIDES; side++) {
		for (level = 0; level <= DEPTH; level++) {
			int parent = level ? places[place_of(side, level - 1)] : gt_cgroup();
			char name[16];
			int made;

			snprintf(name, sizeof(name), level ? "l%d" : "s%d", level ? level - 1 : side);
			made = gt_cgroup_make(parent, name, true);
			if (made < 0) {
				gt_note("%s: %s", name, strerror(-made));
				return false;
			}
			places[place_of(side, level)] = made;
		}
	}
	if (gt_write(places[place_of(0, 0)], "memory.high", "1M") ||
	    gt_write(places[place_of(1, 0)], "memory.max", "6M")) {
		gt_note("no limits can be set");
		return false;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		gt_note("no memory");
		return false;
	}
	error = gt_read(AT_FDCWD, LRU_GEN, lru_gen, sizeof(lru_gen));
	if (error < 0)
		lru_gen[0] = '\0';
	end = strchr(lru_gen, '\n');
	if (end)
		*end = '\0';
	snprintf(folder, sizeof(folder), "/tmp/iter_churn.%d", getpid());
	if (mkdir(folder, 0755)) {
		gt_note("%s: %s", folder, strerror(errno));
		return false;
	}
	return true;
}

static void on_alarm(int number)
{
	(void)number;
}

/*
 * Where there is nothing to be had, memory.reclaim tries seventeen times at thirteen priorities, which takes as long
 * as making a hundred memcgs.  A signal ends it after the first time.
 */
static int try_once(int cgroup, const char *file, const char *text)
{
	static const struct itimerval soon = { .it_value.tv_usec = 20000 }, never;
	struct sigaction action = { .sa_handler = on_alarm };
	int error;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	error = gt_write(cgroup, file, "%s", text);
	setitimer(ITIMER_REAL, &never, NULL);
	return error;
}

/* --- churners -------------------------------------------------------------------- */

static void churn_begin(struct gt_worker *w)
{
	struct churner *c = calloc(1, sizeof(*c));
	off_t part = DISK_BYTES / gt_workers() / PAGE * PAGE;
	int home, i;
	char name[16];

	if (!c)
		gt_die("no memory");
	c->side = (int)(w->rank % SIDES);
	c->wide_at = place_of(c->side, 1 + (int)gt_random_below(&w->random, DEPTH));
	c->chain_at = place_of(c->side, 1 + (int)gt_random_below(&w->random, DEPTH));
	c->place_before = c->wide_at;
	c->from = c->at = part * w->index;
	c->to = c->from + part;
	c->disk = open(DISK, O_RDONLY | O_CLOEXEC);
	if (c->disk < 0)
		gt_die("%s: %s", DISK, strerror(errno));

	snprintf(c->home, sizeof(c->home), "h%u", w->index);
	home = gt_cgroup_make(places[place_of(c->side, 0)], c->home, false);
	if (home < 0)
		gt_die("%s: %s", c->home, strerror(-home));
	close(home);

	snprintf(name, sizeof(name), "w%u", w->index);
	c->wide = gt_cgroup_make_many(places[c->wide_at], name, WIDE);
	if (c->wide < 0)
		gt_die("%s: %s", name, strerror(-c->wide));
	snprintf(name, sizeof(name), "c%u", w->index);
	for (i = 0; i < CHAIN; i++) {
		c->chain[i] = gt_cgroup_make(i ? c->chain[i - 1] : places[c->chain_at], i ? "0" : name, false);
		if (c->chain[i] < 0)
			gt_die("%s: %s", name, strerror(-c->chain[i]));
	}
	if (mkdirat(c->chain[CHAIN - 1], "0", 0755))
		gt_die("%s: %s", name, strerror(errno));

	for (i = 0; i < 64; i++) {
		unsigned long one = 1UL << i;

		if (!syscall(SYS_set_mempolicy, MPOL_PREFERRED, &one, 8 * sizeof(one) + 1))
			c->nodes[c->nodes_n++] = (unsigned int)i;
	}
	w->own = c;
}

static void let_go(struct churner *c)
{
	while (c->kept_n) {
		c->kept_n--;
		if (c->kept[c->kept_n].memory)
			munmap(c->kept[c->kept_n].memory, FILL_PAGES * PAGE);
		else
			close(c->kept[c->kept_n].fd);
	}
}

static void keep(struct churner *c, void *memory, int fd)
{
	c->kept[c->kept_n].memory = memory;
	c->kept[c->kept_n].fd = fd;
	c->kept_n++;
}

static void fill_cache(struct churner *c)
{
	if (c->at + FILL_PAGES * PAGE > c->to)
		c->at = c->from;
	/* A page that is still cached would stay charged to whoever read it first. */
	posix_fadvise(c->disk, c->at, FILL_PAGES * PAGE, POSIX_FADV_DONTNEED);
	posix_fadvise(c->disk, c->at, FILL_PAGES * PAGE, POSIX_FADV_WILLNEED);
	c->at += FILL_PAGES * PAGE;
	c->cached++;
}

static void fill_kept(struct churner *c, bool shmem)
{
	void *memory;
	int fd;

	if (c->kept_n == GT_ARRAY(c->kept))
		return;
	if (shmem) {
		fd = memfd_create("churn", MFD_CLOEXEC);
		if (fd < 0)
			return;
		if (fallocate(fd, 0, 0, FILL_PAGES * PAGE) == 0)
			keep(c, NULL, fd);
		else
			close(fd);
		return;
	}
	memory = mmap(NULL, FILL_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		      -1, 0);
	if (memory != MAP_FAILED)
		keep(c, memory, -1);
}

static void fill_objects(struct gt_worker *w)
{
	char path[96];
	int i;

	for (i = 0; i < 4; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%u.%d", folder, w->index, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd >= 0)
			close(fd);
		/* Half of them outlive their memcg, until this worker comes by again. */
		if (i % 2)
			unlink(path);
	}
}

/* Enter a memcg and fill it; what it is filled with decides what frees it last. */
static void fill(struct gt_worker *w, int parent, const char *name)
{
	struct churner *c = w->own;
	uint32_t what = gt_random_below(&w->random, 8);

	if (gt_cgroup_enter(parent, name))
		gt_die("%s cannot be entered", name);
	/* All on one node, so that one memcg is a walk's goal: the walk stops there. */
	if (c->nodes_n > 1) {
		unsigned long one = 1UL << c->nodes[gt_random_below(&w->random, c->nodes_n)];

		syscall(SYS_set_mempolicy, MPOL_PREFERRED, &one, 8 * sizeof(one) + 1);
	}
	if (what < 5)
		fill_cache(c);
	else if (what < 7)
		fill_kept(c, what == 6);
	else
		fill_objects(w);
	gt_count(PAGES, FILL_PAGES);
}

static void go_home(struct churner *c)
{
	if (gt_cgroup_enter(places[place_of(c->side, 0)], c->home))
		gt_die("%s cannot be entered", c->home);
}

/*
 * Reclaim scrapes a dead memcg only once it is offline, a grace period after it was removed.  So it is
 * told of a batch when the next one has been made: turning the controller on waits until what was
 * turned off is offline.
 */
static void tell_reclaimers(struct churner *c)
{
	atomic_fetch_add(&shared->prey[c->place_before], (int)c->cached_before);
	c->cached_before = 0;
}

/* Let a batch go when all churners are ready to, so that there are times without an offline; but wait for none. */
static void wait_for_others(struct gt_worker *w)
{
	unsigned int churners = (gt_workers() + 1) / 2;
	unsigned int all = (atomic_fetch_add(&shared->ready, 1) / churners + 1) * churners;
	double until = gt_now() + 0.3;

	while (atomic_load(&shared->ready) < all && gt_now() < until && !gt_over())
		gt_sleep(0.002);
	gt_spin(gt_random_below(&w->random, 300));
}

static int churn_wide(struct gt_worker *w)
{
	struct churner *c = w->own;
	unsigned int i;

	gt_cgroup_memory(c->wide, "+memory");
	tell_reclaimers(c);
	for (i = 0; i < WIDE; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		if (!gt_random_one_in(&w->random, 3))
			continue;
		fill(w, c->wide, name);
	}
	go_home(c);
	wait_for_others(w);
	gt_enter(WALK_RELEASE, RELEASE);
	gt_cgroup_memory(c->wide, "-memory");
	let_go(c);
	gt_leave(WALK_RELEASE, RELEASE);
	gt_count(WIDES, 1);
	gt_cycles(WIDE);
	return c->wide_at;
}

/* Each memcg of a chain goes with its own iterators, and the one above it just after. */
static int churn_chain(struct gt_worker *w)
{
	struct churner *c = w->own;
	int i;

	for (i = 0; i < CHAIN; i++)
		gt_cgroup_memory(c->chain[i], "+memory");
	tell_reclaimers(c);
	/* Processes stand in leaves only; the others are walked from. */
	fill(w, c->chain[CHAIN - 1], "0");
	go_home(c);
	for (i = 0; i < CHAIN; i++) {
		if (gt_random_one_in(&w->random, 2))
			continue;
		gt_count(DYING_ROOTS, 1);
		try_once(c->chain[i], "0/memory.reclaim", "64K swappiness=0");
	}
	wait_for_others(w);
	gt_enter(WALK_RELEASE, RELEASE);
	for (i = CHAIN - 1; i >= 0; i--)
		gt_cgroup_memory(c->chain[i], "-memory");
	let_go(c);
	gt_leave(WALK_RELEASE, RELEASE);
	gt_count(CHAINS, 1);
	gt_cycles(CHAIN);
	return c->chain_at;
}

static int churn_born(struct gt_worker *w)
{
	struct churner *c = w->own;
	int place = place_of(c->side, 1 + (int)gt_random_below(&w->random, DEPTH));
	char name[16], names[BORN][16];
	int i, tree, error;

	snprintf(name, sizeof(name), "b%u", w->index);
	tree = gt_cgroup_make(places[place], name, true);
	if (tree < 0)
		gt_die("%s: %s", name, strerror(-tree));
	for (i = 0; i < BORN; i++) {
		snprintf(names[i], sizeof(names[i]), "%u", c->born++);
		if (mkdirat(tree, names[i], 0755))
			gt_die("%s: %s", names[i], strerror(errno));
	}
	tell_reclaimers(c);
	for (i = 0; i < BORN; i++)
		if (gt_random_one_in(&w->random, 2))
			fill(w, tree, names[i]);
	go_home(c);
	wait_for_others(w);
	gt_enter(WALK_RELEASE, RELEASE);
	for (i = 0, error = 0; i < BORN && !error; i++)
		error = gt_cgroup_remove(tree, names[i]);
	close(tree);
	if (!error)
		error = gt_cgroup_remove(places[place], name);
	let_go(c);
	gt_leave(WALK_RELEASE, RELEASE);
	if (error)
		gt_die("%s cannot be removed: %s", name, strerror(-error));
	gt_count(BORNS, 1);
	gt_cycles(BORN + 1);
	return place;
}

static void churn(struct gt_worker *w)
{
	struct churner *c = w->own;
	uint32_t kind = gt_random_below(&w->random, 8);

	c->cached = 0;
	if (kind < 6)
		c->place_before = churn_wide(w);
	else if (kind < 7)
		c->place_before = churn_chain(w);
	else
		c->place_before = churn_born(w);
	c->cached_before = c->cached;

	/* Reclaim gives dead memcgs back quicker than churners make them; where it does not, they wait for it. */
	while (gt_random_one_in(&w->random, 4) && !gt_over() &&
	       gt_read_key(gt_cgroup(), "cgroup.stat", "nr_dying_subsys_memory") > DYING_MOST)
		gt_write(gt_cgroup(), "memory.reclaim", "1M");
}

static void churn_end(struct gt_worker *w)
{
	let_go(w->own);
}

/* --- reclaimers ---------------------------------------------------------------------- */

/* Take one dead memcg with page cache off the list and say where it stands; -1 when there is none. */
static int hunt(struct gt_worker *w)
{
	uint32_t at = gt_random_below(&w->random, PLACES), i;

	for (i = 0; i < PLACES; i++, at++) {
		_Atomic int *here = &shared->prey[at % PLACES];
		int n = atomic_load(here);

		while (n > 0)
			if (atomic_compare_exchange_weak(here, &n, n - 1))
				return (int)(at % PLACES);
	}
	return -1;
}

static void reclaim_begin(struct gt_worker *w)
{
	/* Sees the turns that come, not those of another round. */
	unsigned int *seen = malloc(sizeof(*seen));

	if (!seen)
		gt_die("no memory");
	*seen = atomic_load(&shared->turn);
	w->own = seen;
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void timed(double seconds)
{
	unsigned long us = (unsigned long)(seconds * 1e6);
	unsigned long longest = atomic_load(&shared->longest_us);

	atomic_fetch_add(&shared->walk_us, us);
	atomic_fetch_add(&shared->walks, 1);
	while (us > longest && !atomic_compare_exchange_weak(&shared->longest_us, &longest, us))
		;
}

/*
 * A walk from a place, or with -1 from the own cgroup.  One that stops midway is what leaves a position behind;
 * one that goes far, with more to get than there is, steps the iterator hundreds of times.
 */
static void walk(struct gt_worker *w, int place, bool far)
{
	static const char *const goals[] = {
		"128K", "128K swappiness=0", "128K swappiness=0", "128K swappiness=0",
	};
	int target = place < 0 ? gt_cgroup() : places[place];
	long long now = -1;
	double from;
	char high[24];
	int error;

	/* The sides have limits of their own. */
	if (!far && place >= 0 && place % (DEPTH + 1) && gt_random_one_in(&w->random, 8))
		now = gt_read_number(target, "memory.current");
	from = cpu_seconds();
	gt_enter(WALK_RELEASE, WALK);
	if (now >= 0) {
		snprintf(high, sizeof(high), "%lld", now > 128 << 10 ? now - (128 << 10) : 0);
		error = try_once(target, "memory.high", high);
		gt_count(LOWERED, 1);
	} else {
		error = try_once(target, "memory.reclaim",
				 far ? "64M swappiness=0" : goals[gt_random_below(&w->random, GT_ARRAY(goals))]);
	}
	gt_leave(WALK_RELEASE, WALK);
	timed(cpu_seconds() - from);
	if (now >= 0)
		gt_write(target, "memory.high", "max");
	gt_count(error ? WALKS_SHORT : WALKS, 1);
}

/* From where to walk so as to come across what stands in a place. */
static int root_above(struct gt_worker *w, int place)
{
	int level = place % (DEPTH + 1);
	int above = (int)gt_random_below(&w->random, (uint32_t)level + 2);

	return above > level ? -1 : place - above;
}

/*
 * Make memory scarce on all nodes for a moment: huge pages take what is free without a fault for each
 * page, and reclaim for the last of them begins at the root.
 */
static void make_scarce(void)
{
	char text[4096], *line;
	long long free_kb = 0;

	if (gt_read(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) < 0)
		return;
	line = strstr(text, "MemFree:");
	if (!line || sscanf(line, "MemFree: %lld", &free_kb) != 1 || free_kb < SPARE_MB << 11)
		return;
	gt_write(AT_FDCWD, HUGE_PAGES, "%lld", (free_kb - (SPARE_MB << 10)) / 2048);
	gt_sleep(0.05);
	gt_write(AT_FDCWD, HUGE_PAGES, "0");
	gt_count(SCARCE, 1);
}

/* Two walks from the same memcg at the same moment. */
static void lead(struct gt_worker *w, int place)
{
	bool far = gt_random_one_in(&w->random, 3);
	double until = gt_now() + 3.0;
	unsigned int turn;

	atomic_store(&shared->target, place);
	atomic_store(&shared->far, far);
	turn = atomic_fetch_add(&shared->turn, 1) + 1;
	gt_count(LEAD, 1);
	/* The second may be in a walk still, and this one shares its CPU with others. */
	while (atomic_load(&shared->come) != turn && gt_now() < until && !gt_over())
		gt_sleep(0.001);
	gt_meet(WALK_WALK, 0, w, 100);
	gt_enter(WALK_WALK, 0);
	walk(w, place, far);
	gt_leave(WALK_WALK, 0);
}

static void reclaim_cycle(struct gt_worker *w)
{
	unsigned int *seen = w->own;
	unsigned int turn = atomic_load(&shared->turn);
	bool pair = gt_workers() > 3;
	int place;

	if (w->rank % 2 && turn != *seen) {
		*seen = turn;
		atomic_store(&shared->come, turn);
		if (gt_meet(WALK_WALK, 1, w, 100)) {
			gt_enter(WALK_WALK, 1);
			walk(w, atomic_load(&shared->target), atomic_load(&shared->far));
			gt_leave(WALK_WALK, 1);
		}
		return;
	}
	if (!w->rank && gt_random_one_in(&w->random, 200))
		make_scarce();
	place = hunt(w);
	if (place < 0) {
		/* A walk that finds nothing goes round at every priority; at least one, however short the budget. */
		if (gt_figure(WALKS) + gt_figure(WALKS_SHORT) && !gt_random_one_in(&w->random, 250)) {
			gt_sleep(0.002);
			return;
		}
		place = (int)gt_random_below(&w->random, PLACES);
	}
	place = root_above(w, place);
	if (pair && w->rank % 2 == 0 && gt_random_one_in(&w->random, 2)) {
		lead(w, place);
	} else {
		walk(w, place, false);
	}
	/* Time for what was scraped to be freed, before the position that was left on it is read. */
	gt_sleep(gt_random_below(&w->random, 64) / 1000.0);
}

/* --- afterwards -------------------------------------------------------------------------- */

static void settle(void)
{
	static bool off;
	unsigned int i;

	gt_write(AT_FDCWD, HUGE_PAGES, "0");
	gt_remove_all(AT_FDCWD, folder);
	mkdir(folder, 0755);
	for (i = 0; i < PLACES; i++)
		atomic_store(&shared->prey[i], 0);
	for (i = 0; i < SIDES; i++) {
		int level;

		/* What stays is emptied too: its levels are there for the next round. */
		for (level = DEPTH; level >= 0; level--) {
			char name[16];
			unsigned int n;

			for (n = 0; n < gt_workers(); n++) {
				static const char kinds[] = "hwcb";
				int k;

				for (k = 0; kinds[k]; k++) {
					int fd;

					snprintf(name, sizeof(name), "%c%u", kinds[k], n);
					fd = openat(places[place_of((int)i, level)], name,
						    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
					if (fd < 0)
						continue;
					gt_cgroup_remove_below(fd);
					close(fd);
					gt_cgroup_remove(places[place_of((int)i, level)], name);
				}
			}
		}
	}
	/* Once is enough to know; what stays would be waited for after each round. */
	drained = gt_cgroup_drain(gt_cgroup(), drained ? PATIENCE : 1) && drained;
	/* The other LRU in the next round. */
	if (lru_gen[0]) {
		off = !off;
		gt_write(AT_FDCWD, LRU_GEN, "%s", off ? "0" : lru_gen);
	}
}

static void teardown(void)
{
	gt_remove_all(AT_FDCWD, folder);
	if (lru_gen[0])
		gt_write(AT_FDCWD, LRU_GEN, "%s", lru_gen);
}

static bool walks_ran(void)
{
	return gt_figure(WALKS) + gt_figure(WALKS_SHORT) > 0;
}

static bool walks_end(void)
{
	double longest = (double)atomic_load(&shared->longest_us) / 1e6;
	unsigned long walks = atomic_load(&shared->walks);
	double mean = walks ? (double)atomic_load(&shared->walk_us) / 1e6 / (double)walks : 0;

	gt_count(LONGEST_MS, (uint64_t)(longest * 1000));
	gt_note("a walk took %.1f ms of CPU time on average and %.1f ms at most", mean * 1000, longest * 1000);
	return longest < WALK_MOST || longest < WALK_TIMES * mean;
}

static bool nothing_left_dying(void)
{
	return drained;
}

/* What is left is our own: the cgroups' data and charges that CPUs keep for the next time. */
static bool counters_back(void)
{
	return gt_charges_back(2 << 20);
}

static const struct gt_role roles[] = {
	{ .name = "churner", .begin = churn_begin, .cycle = churn, .end = churn_end },
	{ .name = "reclaimer", .begin = reclaim_begin, .cycle = reclaim_cycle },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "walks_ran", walks_ran },
	{ "walks_end", walks_end },
	{ "nothing_left_dying", nothing_left_dying },
	{ "counters_back", counters_back },
	{ "no_oom_kill", gt_no_oom_kill },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "iter_churn",
	.stresses = "shared reclaim walks from every level while memcgs are born and die",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
