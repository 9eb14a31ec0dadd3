// SPDX-License-Identifier: MIT
/*
 * Objects on the lists of a memcg that goes offline.
 *
 * Path: memcg_offline_kmem() (mm/memcontrol.c): memcg_reparent_objcgs() first lets the objects find the
 * parent, then memcg_reparent_list_lrus() (mm/list_lru.c) hands over the id and moves the lists, node by
 * node under list_lru_node->lock.  list_lru_add_obj() and list_lru_del_obj() look the memcg up under
 * RCU and take that lock; list_lru_walk_one() takes objects off under the shrinkers; zswap and the shadow
 * nodes of the page cache (workingset_update_node()) use the same lists from reclaim; memcg_list_lru_alloc()
 * puts lists in, list_lru_destroy() ends them with the superblock.
 *
 *	remover   makes memcgs, lets a holder fill them, takes them offline
 *	holder    opens files in each memcg and closes them while they go offline: the last dput() puts
 *	          the dentry on the list of a memcg that is being reparented
 *	pager     in memcgs of its own: page cache that is reclaimed and leaves shadow nodes, anonymous memory
 *	          in zswap and on the other node; read and faulted in again while and after they go
 *	scanner   the shrinkers of all these lists, through debugfs and drop_caches
 *	auditor   alone on a superblock: counts by node before and after, and unmounts while memcgs go
 *
 * The auditor makes a number of dentries in a memcg, on all nodes, while nobody else shrinks.  The memcg's
 * lists must hold that many; when it is offline its parent's must have grown by just those, on each
 * node; when the parent's have been scanned they must be empty.  An object that was left on a dead
 * list, or moved without its count, shows in these numbers though nothing else complains.
 *
 * A bug: any splat; numbers that do not follow; a memcg still dying at the end; an unmount that stays busy.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/gt.h"

#define MANY		8		/* memcgs of a batch */
#define PATIENCE	10.0		/* seconds that the two sides wait for each other's work */
#define HELD		12		/* files that a holder opens in each */
#define LATE		2		/* batches after which one more is closed */
#define FILES		256		/* made in the beginning, on ext4 and so on the overlay */
#define AUDITED		48		/* dentries of an audit, by CPU */
#define NODES		8		/* most that are looked at */
#define PAIRS		8		/* most removers */
#define PAGE		4096L
#define CACHE_BYTES	(256 * PAGE)	/* four xarray nodes of page cache */
#define ANON_BYTES	(32 * PAGE)
#define CACHE_DISK	"/dev/ram0"	/* read as it is */
#define STAYS_DISK	"/dev/ram1"
#define AUDIT_DISK	"/dev/ram2"
#define MPOL_BIND	2		/* include/uapi/linux/mempolicy.h */
#define MPOL_MF_MOVE	2

enum { BATCHES, HELD_OPEN, SCANS, SHADOWS_BACK, SWAPPED_BACK, MOVED, AUDITS, UNSETTLED, WRONG, UNMOUNTS, BUSY };

static const char *const figures[] = {
	"batches", "held_open", "scans", "shadows_back", "swapped_back", "moved", "audits", "audits_unsettled",
	"audits_wrong", "unmounts", "busy", NULL,
};

enum { ADD, SCAN, UNMOUNT };

static const struct gt_window windows[] = {
	[ADD] = { "add_reparent", { "add", "reparent" } },
	[SCAN] = { "scan_reparent", { "scan", "reparent" } },
	[UNMOUNT] = { "unmount_reparent", { "unmount", "reparent" } },
	{ .name = NULL },
};

enum stage { EMPTY, MADE, FILLED };

static struct shared {
	struct pair {
		_Atomic int stage;		/* of the remover's batch, enum stage */
		_Atomic unsigned long long ino;	/* of the folder that its memcgs are in */
	} pairs[PAIRS];
	_Atomic unsigned long long pager;	/* and of a pager's */
	_Atomic int quiet;			/* audits that want nobody to shrink */
	_Atomic int shrinking;			/* workers that do */
	_Atomic unsigned int names;		/* of files that are not there: each is used once */
} *shared;

static char base[64];				/* all mount points are below */
static char audit_point[80];
static char shrinkers[4][128];			/* of what stays, and the kernel's own two */
static unsigned int shrinkers_n;
static int cpus[64];
static unsigned int cpus_n;

/* --- before ---------------------------------------------------------------------------- */

static void find_cpus(void)
{
	cpu_set_t set;
	int i;

	if (sched_getaffinity(0, sizeof(set), &set))
		return;
	for (i = 0; i < CPU_SETSIZE && cpus_n < GT_ARRAY(cpus); i++)
		if (CPU_ISSET(i, &set))
			cpus[cpus_n++] = i;
}

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

static bool setup(void)
{
	static const char *const names[] = { "sb-ext4:ram1", "sb-overlay", "mm-shadow", "mm-zswap" };
	char path[96], options[320];
	unsigned int i;

	find_cpus();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		gt_note("no memory");
		return false;
	}
	if (!gt_mounts_private())
		return false;
	snprintf(base, sizeof(base), "/mnt/lru_reparent.%d", getpid());
	snprintf(audit_point, sizeof(audit_point), "%s/audit", base);
	if (!gt_mount("tmpfs", "tmpfs", base, "mode=0755") || !gt_ext4_write(STAYS_DISK) || !gt_ext4_write(AUDIT_DISK))
		return false;
	snprintf(path, sizeof(path), "%s/ext4", base);
	if (!gt_mount("ext4", STAYS_DISK, path, NULL) || !gt_mount("ext4", AUDIT_DISK, audit_point, NULL))
		return false;
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/ext4/%u", base, i);
		if (mknod(path, S_IFREG | 0600, 0)) {
			gt_note("%s: %s", path, strerror(errno));
			return false;
		}
	}
	/* Of nothing but lower folders, so that it costs no more than its own dentries and inodes. */
	snprintf(path, sizeof(path), "%s/empty", base);
	mkdir(path, 0755);
	snprintf(options, sizeof(options), "lowerdir=%s/ext4:%s/empty", base, base);
	snprintf(path, sizeof(path), "%s/overlay", base);
	if (!gt_mount("overlay", "overlay", path, options))
		return false;
	for (i = 0; i < GT_ARRAY(names); i++)
		if (gt_shrinker_find(names[i], shrinkers[shrinkers_n], sizeof(shrinkers[0])))
			shrinkers_n++;
	if (shrinkers_n < 2) {
		gt_note("the shrinkers of ext4 and overlay are not in debugfs");
		return false;
	}
	return true;
}

/* --- common to all workers --------------------------------------------------------------- */

struct actor {
	int many;		/* folder of its memcgs */
	char home[16];
	char name[16];		/* of the folder */
	int disk;
	char *memory;		/* a pager's */
	char point[96];		/* an auditor's */
	char shrinker[128];
	unsigned long long ino;
	int late[LATE][MANY];	/* a holder's files of former batches, one a memcg; 0: none */
	unsigned int turn;
};

static void actor_begin(struct gt_worker *w)
{
	struct actor *a = calloc(1, sizeof(*a));
	int home;

	if (!a)
		gt_die("no memory");
	run_on(w->index);
	snprintf(a->home, sizeof(a->home), "h%u", w->index);
	snprintf(a->name, sizeof(a->name), "t%u", w->index);
	home = gt_cgroup_make(gt_cgroup(), a->home, false);
	a->many = gt_cgroup_make_many(gt_cgroup(), a->name, MANY);
	if (home < 0 || a->many < 0)
		gt_die("%s: %s", a->name, strerror(home < 0 ? -home : -a->many));
	close(home);
	a->ino = gt_ino(a->many);
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

static void enter(int many, unsigned int number)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	if (gt_cgroup_enter(many, name))
		gt_die("memcg %u cannot be entered", number);
}

/* What is off goes offline after a grace period; turning the controller on again waits for that. */
static void take_offline(struct actor *a)
{
	gt_cgroup_memory(a->many, "-memory");
	gt_cgroup_memory(a->many, "+memory");
}

/* Whether this worker may shrink now: not while an audit counts. */
static bool may_shrink(void)
{
	atomic_fetch_add(&shared->shrinking, 1);
	if (!atomic_load(&shared->quiet))
		return true;
	atomic_fetch_sub(&shared->shrinking, 1);
	return false;
}

static void shrunk(void)
{
	atomic_fetch_sub(&shared->shrinking, 1);
}

/* The first `n` of the shrinkers. */
static void scan_some(unsigned int n, unsigned long long ino, unsigned long most)
{
	unsigned int i, node;

	for (i = 0; i < n; i++)
		for (node = 0; node < 2; node++)
			gt_shrinker_scan(shrinkers[i], ino, node, most);
}

/* --- remover and holder ---------------------------------------------------------------------- */

static void remove_begin(struct gt_worker *w)
{
	struct actor *a;

	actor_begin(w);
	a = w->own;
	gt_cgroup_memory(a->many, "+memory");
	atomic_store(&shared->pairs[w->rank % PAIRS].ino, a->ino);
	atomic_store(&shared->pairs[w->rank % PAIRS].stage, EMPTY);
}

static void remove_batch(struct gt_worker *w)
{
	struct pair *pair = &shared->pairs[w->rank % PAIRS];
	struct actor *a = w->own;
	double until = gt_now() + PATIENCE;

	atomic_store(&pair->stage, MADE);
	while (atomic_load(&pair->stage) != FILLED && !gt_over() && gt_now() < until)
		gt_sleep(0.001);
	meet(ADD, 1, w);
	gt_enter(ADD, 1);
	take_offline(a);
	gt_leave(ADD, 1);
	gt_count(BATCHES, 1);
	gt_cycles(MANY);
}

/* A name that nobody has looked up yet: a dentry that is made here and goes onto the list at once. */
static void look_up_nothing(const char *folder, unsigned int n)
{
	char path[128];

	while (n--) {
		snprintf(path, sizeof(path), "%s/n%u", folder, atomic_fetch_add(&shared->names, 1));
		access(path, F_OK);
	}
}

static int open_one(struct gt_worker *w, unsigned int number)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s/%u", base, number % 2 ? "ext4" : "overlay",
		 gt_random_below(&w->random, FILES));
	return open(path, O_PATH | O_CLOEXEC);
}

static void hold(struct gt_worker *w)
{
	struct pair *pair = &shared->pairs[w->rank % PAIRS];
	int folder, fds[HELD][MANY], late[MANY];
	struct actor *a = w->own;
	char name[16], path[96];
	unsigned int i, j;

	if (atomic_load(&pair->stage) != MADE) {
		gt_sleep(0.001);
		return;
	}
	/* Roles are dealt in turn: the worker before this one. */
	snprintf(name, sizeof(name), "t%u", w->index - 1);
	folder = openat(gt_cgroup(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		gt_die("%s: %s", name, strerror(errno));
	/* What the dead left is with the folder they were in: it has to go, or there is nothing to be made. */
	if (may_shrink()) {
		scan_some(2, atomic_load(&pair->ino), 4UL * HELD * MANY);
		shrunk();
	}
	for (i = 0; i < MANY; i++) {
		enter(folder, i);
		for (j = 0; j < HELD; j++)
			fds[j][i] = open_one(w, j);
		late[i] = open_one(w, i);
		snprintf(path, sizeof(path), "%s/%s", base, i % 2 ? "ext4" : "overlay");
		look_up_nothing(path, 2);
	}
	go_home(a);
	close(folder);
	atomic_store(&pair->stage, FILLED);
	meet(ADD, 0, w);
	gt_enter(ADD, 0);
	/* Until the last one is offline, so that one close or another falls into each memcg's moment. */
	for (j = 0; j < HELD; j++) {
		for (i = 0; i < MANY; i++) {
			close(fds[j][i]);
			gt_spin(gt_random_below(&w->random, 400));
		}
	}
	gt_leave(ADD, 0);
	/* And these dentries go onto a list when their memcg has long been freed. */
	for (i = 0; i < MANY; i++) {
		if (a->late[a->turn % LATE][i])
			close(a->late[a->turn % LATE][i]);
		a->late[a->turn % LATE][i] = late[i] < 0 ? 0 : late[i];
	}
	a->turn++;
	gt_count(HELD_OPEN, HELD * MANY);
}

/* --- pager --------------------------------------------------------------------------------------- */

static void page_begin(struct gt_worker *w)
{
	struct actor *a;

	actor_begin(w);
	a = w->own;
	gt_cgroup_memory(a->many, "+memory");
	a->disk = open(CACHE_DISK, O_RDONLY | O_CLOEXEC);
	if (a->disk < 0)
		gt_die("%s: %s", CACHE_DISK, strerror(errno));
	atomic_store(&shared->pager, a->ino);
}

/*
 * Reclaim a memcg: page cache leaves shadows, anonymous memory goes to zswap.  Not for more than there is:
 * memory.reclaim would try seventeen times.
 */
static void page_out(struct actor *a, unsigned int number, long bytes)
{
	char path[32];

	snprintf(path, sizeof(path), "%u/memory.reclaim", number);
	while (!may_shrink()) {
		if (gt_over())
			return;
		gt_sleep(0.002);
	}
	gt_write(a->many, path, "%ld", bytes - bytes / 8);
	shrunk();
}

static void move_to_node(struct gt_worker *w, char *memory)
{
	unsigned long one = 1UL << gt_random_below(&w->random, 2);

	if (!syscall(SYS_mbind, memory, ANON_BYTES, MPOL_BIND, &one, 8 * sizeof(one), MPOL_MF_MOVE))
		gt_count(MOVED, 1);
}

static void page(struct gt_worker *w)
{
	struct actor *a = w->own;
	off_t at = (off_t)(w->rank * 4 + gt_random_below(&w->random, 4)) * CACHE_BYTES;
	char *memory;
	long i;

	enter(a->many, 0);
	posix_fadvise(a->disk, at, CACHE_BYTES, POSIX_FADV_DONTNEED);
	posix_fadvise(a->disk, at, CACHE_BYTES, POSIX_FADV_WILLNEED);
	enter(a->many, 1);
	memory = mmap(NULL, ANON_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		gt_die("no memory");
	/* A page of one value is no entry of zswap's. */
	for (i = 0; i < ANON_BYTES; i += PAGE)
		snprintf(memory + i, PAGE, "%ld of %u", i, w->index);
	move_to_node(w, memory);
	go_home(a);
	page_out(a, 0, CACHE_BYTES);
	page_out(a, 1, ANON_BYTES);
	meet(SCAN, 1, w);
	gt_enter(SCAN, 1);
	gt_cgroup_memory(a->many, "-memory");
	/* Half of it comes back while the memcgs go, half when they have gone. */
	posix_fadvise(a->disk, at, CACHE_BYTES / 2, POSIX_FADV_WILLNEED);
	for (i = 0; i < ANON_BYTES / 2; i += PAGE)
		memory[i]++;
	gt_cgroup_memory(a->many, "+memory");
	gt_leave(SCAN, 1);
	move_to_node(w, memory);
	for (; i < ANON_BYTES; i += PAGE)
		memory[i]++;
	munmap(memory, ANON_BYTES);
	posix_fadvise(a->disk, at + CACHE_BYTES / 2, CACHE_BYTES / 2, POSIX_FADV_WILLNEED);
	posix_fadvise(a->disk, at, CACHE_BYTES, POSIX_FADV_DONTNEED);
	gt_count(SHADOWS_BACK, CACHE_BYTES / PAGE);
	gt_count(SWAPPED_BACK, ANON_BYTES / PAGE);
	gt_cycles(MANY);
}

/* --- scanner --------------------------------------------------------------------------------------- */

static void scan(struct gt_worker *w)
{
	unsigned int i;

	if (!may_shrink()) {
		gt_sleep(0.002);
		return;
	}
	gt_meet(SCAN, 0, w, 0);
	gt_enter(SCAN, 0);
	if (gt_random_one_in(&w->random, 16))
		gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "2");
	for (i = 0; i < PAIRS && atomic_load(&shared->pairs[i].ino); i++)
		scan_some(shrinkers_n, atomic_load(&shared->pairs[i].ino), 256);
	scan_some(shrinkers_n, atomic_load(&shared->pager), 8 + gt_random_below(&w->random, 256));
	gt_leave(SCAN, 0);
	shrunk();
	gt_count(SCANS, 1);
	gt_sleep(gt_random_below(&w->random, 8) / 1000.0);
}

/* --- auditor ------------------------------------------------------------------------------------------- */

static void find_audited(struct actor *a)
{
	if (!gt_shrinker_find("sb-ext4:ram2", a->shrinker, sizeof(a->shrinker)))
		gt_die("the shrinker of " AUDIT_DISK " is not in debugfs");
}

static void audit_begin(struct gt_worker *w)
{
	struct actor *a;

	actor_begin(w);
	a = w->own;
	gt_cgroup_memory(a->many, "+memory");
	find_audited(a);
}

/* Objects that any shrinker has looked at since boot. */
static long long scanned(void)
{
	static char text[16384];
	const char *at;

	if (gt_read(AT_FDCWD, "/proc/vmstat", text, sizeof(text)) < 0)
		return -1;
	at = strstr(text, "slabs_scanned ");
	return at ? atoll(at + strlen("slabs_scanned ")) : -1;
}

static void fill_audited(struct gt_worker *w)
{
	struct actor *a = w->own;
	unsigned int i;

	enter(a->many, 0);
	/* An object is made on the node of the CPU. */
	for (i = 0; i < cpus_n; i++) {
		run_on(i);
		look_up_nothing(audit_point, AUDITED);
	}
	run_on(w->index);
	go_home(a);
}

static unsigned long long child_ino(const struct actor *a)
{
	struct stat status;

	return fstatat(a->many, "0", &status, 0) ? 0 : status.st_ino;
}

/* What the parent has must go when it is scanned; referenced objects go round once. */
static bool empties(const struct actor *a, long long *counts)
{
	unsigned int round, node;

	for (round = 0; round < 8; round++) {
		long long left = 0;

		for (node = 0; node < NODES; node++)
			if (counts[node])
				gt_shrinker_scan(a->shrinker, a->ino, node, (unsigned long)counts[node] + 16);
		if (gt_shrinker_count(a->shrinker, a->ino, counts, NODES))
			return true;
		for (node = 0; node < NODES; node++)
			left += counts[node];
		if (!left)
			return true;
	}
	return false;
}

/* Whether all numbers are as they must be; the first that is not is said. */
static bool audit_holds(struct gt_worker *w, unsigned int *made_on)
{
	long long child[NODES], before[NODES], after[NODES], all = 0;
	struct actor *a = w->own;
	unsigned int node;

	fill_audited(w);
	gt_shrinker_count(a->shrinker, child_ino(a), child, NODES);
	gt_shrinker_count(a->shrinker, a->ino, before, NODES);
	for (node = 0; node < NODES; node++) {
		all += child[node];
		*made_on += child[node] > 0;
	}
	if (all != (long long)cpus_n * AUDITED) {
		gt_note("audit: %u dentries were made, the memcg's lists hold %lld", cpus_n * AUDITED, all);
		return false;
	}
	take_offline(a);
	gt_shrinker_count(a->shrinker, a->ino, after, NODES);
	for (node = 0; node < NODES; node++) {
		if (after[node] == before[node] + child[node])
			continue;
		gt_note("audit: node %u: the memcg had %lld, its parent %lld before and %lld after it went offline",
			node, child[node], before[node], after[node]);
		return false;
	}
	if (empties(a, after))
		return true;
	for (node = 0; node < NODES; node++)
		if (after[node])
			gt_note("audit: node %u: %lld stay on the parent's list", node, after[node]);
	return false;
}

static void audit(struct gt_worker *w)
{
	double until = gt_now() + 5;
	unsigned int made_on = 0;
	long long from;
	bool holds;

	atomic_fetch_add(&shared->quiet, 1);
	while (atomic_load(&shared->shrinking) && gt_now() < until)
		gt_sleep(0.001);
	from = scanned();
	holds = audit_holds(w, &made_on);
	/* The kernel's own reclaim came by: the numbers say nothing. Scans through debugfs are not in it. */
	if (scanned() != from || from < 0)
		gt_count(UNSETTLED, 1);
	else
		gt_count(holds ? AUDITS : WRONG, 1);
	atomic_fetch_sub(&shared->quiet, 1);
}

/* The superblock goes while those who have objects on it do. */
static void unmount_under(struct gt_worker *w)
{
	struct actor *a = w->own;

	fill_audited(w);
	gt_enter(UNMOUNT, 1);
	gt_cgroup_memory(a->many, "-memory");
	gt_sleep(gt_random_below(&w->random, 30) / 1000.0);
	gt_enter(UNMOUNT, 0);
	if (gt_unmount(audit_point, 10))
		gt_count(UNMOUNTS, 1);
	else
		gt_count(BUSY, 1);
	gt_leave(UNMOUNT, 0);
	gt_cgroup_memory(a->many, "+memory");
	gt_leave(UNMOUNT, 1);
	/* The pages that a mounted ext4 keeps would pin the memcg that mounted it: let it be the root. */
	if (gt_cgroup_enter(AT_FDCWD, "/sys/fs/cgroup") || !gt_mount("ext4", AUDIT_DISK, audit_point, NULL))
		gt_die("an auditor cannot mount");
	go_home(a);
	find_audited(a);
}

static void audit_or_unmount(struct gt_worker *w)
{
	struct actor *a = w->own;
	double from, took;

	from = gt_now();
	audit(w);
	took = gt_now() - from;
	/* What the unmounted leave behind would be in the next audit's numbers, so each begins mounted anew. */
	if (!a->disk++ || gt_random_one_in(&w->random, 3))
		unmount_under(w);
	gt_cycles(2 * MANY);
	/* As long as nobody might shrink, so long they may. */
	gt_sleep(0.05 + (took < 1 ? took : 1));
}

/* --- afterwards -------------------------------------------------------------------------------------------- */

static bool drained, unmounted;

static void settle(void)
{
	gt_cgroup_remove_below(gt_cgroup());
	drained = gt_cgroup_drain(gt_cgroup(), 60);
}

static void teardown(void)
{
	static const char *const points[] = { "overlay", "ext4", "audit" };
	char path[96];
	unsigned int i;

	for (i = 0; base[0] && i < GT_ARRAY(points); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, points[i]);
		umount2(path, MNT_DETACH);
	}
	if (base[0]) {
		umount2(base, MNT_DETACH);
		rmdir(base);
	}
}

static bool all_unmounted(void)
{
	static const char *const points[] = { "overlay", "ext4", "audit" };
	char path[96];
	unsigned int i;

	unmounted = gt_figure(BUSY) == 0;
	for (i = 0; i < GT_ARRAY(points); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, points[i]);
		unmounted = gt_unmount(path, 10) && unmounted;
	}
	unmounted = gt_unmount(base, 10) && unmounted;
	if (unmounted) {
		rmdir(base);
		base[0] = '\0';
	}
	return unmounted;
}

static bool all_ran(void)
{
	return gt_figure(BATCHES) && gt_figure(HELD_OPEN) && gt_figure(SCANS) && gt_figure(SHADOWS_BACK) &&
	       gt_figure(AUDITS) + gt_figure(WRONG);
}

static bool counts_follow(void)
{
	return gt_figure(WRONG) == 0;
}

static bool nothing_left_dying(void)
{
	return drained && gt_read_key(gt_cgroup(), "cgroup.stat", "nr_descendants") == 0;
}

static const struct gt_role roles[] = {
	{ .name = "remover", .begin = remove_begin, .cycle = remove_batch },
	{ .name = "holder", .begin = actor_begin, .cycle = hold },
	{ .name = "pager", .begin = page_begin, .cycle = page },
	{ .name = "scanner", .begin = actor_begin, .cycle = scan },
	{ .name = "auditor", .begin = audit_begin, .cycle = audit_or_unmount },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "all_ran", all_ran },
	{ "counts_follow_to_the_parent", counts_follow },
	{ "nothing_left_dying", nothing_left_dying },
	{ "no_oom_kill", gt_no_oom_kill },
	{ "all_unmounted", all_unmounted },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "lru_reparent",
	.stresses = "reparenting of list_lrus while their objects are added, found, scanned and unmounted",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
