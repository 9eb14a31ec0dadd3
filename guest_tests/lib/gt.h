/* SPDX-License-Identifier: MIT */
/*
 * Library of the guest's programs: a program is one constant, main() is ours.
 *
 * A program defines `const struct gt_program gt_program` and nothing else that is not static.  Its
 * workers are processes (memory is charged by process, not by thread), each pinned to a CPU, each
 * with a stream of random numbers of its own, all of them taken from --seed.  A worker calls its
 * role's cycle until the budget is used up.  The budget is spent in rounds: after each one what was made
 * is put away (settle) and the books are read (lib/ledger.c), so that what grows with the cycles can be told
 * from what is only made once.  After the last round the checks are asked.
 *
 * What comes out is KTAP version 1 (Documentation/dev-tools/ktap.rst), the plan first:
 *
 *	KTAP version 1
 *	1..5
 *	# program=memcg_churn seed=1 budget=20 workers=4
 *	ok 1 setup
 *	ok 2 cycles_ran
 *	ok 3 workers_ended
 *	...
 *	# cycles=1234 per_second=61.7
 *	# <figure>=<n>
 *	# window <name> <side>=<n> <side>=<n> overlap=<n>
 *
 * and while it runs, once before the first round and after each (lib/ledger.c):
 *
 *	# ledger <round> cycles=<n> <row>=<n> <row>=<n>...
 *
 * Exit status: 0 all ok, 1 something was not, 2 bad arguments, 4 skipped (as in kselftest).
 */
#ifndef GT_H
#define GT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GT_ARRAY(a)	(sizeof(a) / sizeof((a)[0]))
#define GT_FIGURES	16	/* most figures a program may have */
#define GT_WINDOWS	8	/* most windows */
/* The first round also pays for what is only made once; what grows shows from each of the others to the next. */
#define GT_ROUNDS	3

/* --- a program ---------------------------------------------------------- */

/* State of xoshiro256**. */
struct gt_random {
	uint64_t s[4];
};

/* One worker process. */
struct gt_worker {
	unsigned int index;	/* among all workers */
	unsigned int rank;	/* among the workers of its role */
	unsigned int cpu;	/* it is pinned here */
	struct gt_random random;
	void *own;		/* the role's own data */
};

/* What a kind of worker does.  Roles are dealt to the workers in turn. */
struct gt_role {
	const char *name;
	void (*begin)(struct gt_worker *w);	/* in the worker, before its first cycle; may be NULL */
	void (*cycle)(struct gt_worker *w);	/* once, and again until the budget is used up */
	void (*end)(struct gt_worker *w);	/* in the worker, after its last cycle; may be NULL */
};

/*
 * The hazard a program is there for: two things that have to happen at the same time.  Each side says
 * when it is in its part (gt_enter, gt_leave), and a run in which the two were never in theirs at once has
 * shown nothing, and says so.
 */
struct gt_window {
	const char *name;
	const char *side[2];
};

/* A statement about the kernel once everything has been put away. */
struct gt_check {
	const char *name;
	bool (*holds)(void);	/* says why not with gt_note() */
};

struct gt_program {
	const char *name;
	const char *stresses;			/* one line: the kernel path */
	const char *const *figures;		/* names of the counters, ended by NULL */
	const struct gt_window *windows;	/* ended by a window without a name; may be NULL */
	bool (*setup)(void);			/* says what is missing with gt_note() */
	const struct gt_role *roles;		/* ended by a role without a name */
	void (*settle)(void);			/* after each round's workers: put away what they left */
	const struct gt_check *checks;		/* ended by a check without a name */
	void (*teardown)(void);
};

extern const struct gt_program gt_program;

/* --- the run ------------------------------------------------------------ */

/* Whether the budget is used up: a cycle that loops looks at it. */
bool gt_over(void);
/* Seconds on the monotonic clock. */
double gt_now(void);
void gt_sleep(double seconds);
/* A cycle is over: what per_second counts, and the agent's sign of progress. */
void gt_cycles(uint64_t n);
/* Add to a figure, an index into gt_program.figures. */
void gt_count(unsigned int figure, uint64_t n);
uint64_t gt_figure(unsigned int figure);
/* The number of workers of this run. */
unsigned int gt_workers(void);
/* A KTAP diagnostic line. */
void gt_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and the program ends: for what cannot go on (in a worker: workers_ended is then not ok). */
void gt_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* --- windows --------------------------------------------------------------- */

/*
 * Wait for a worker of the other side, and then for a moment that differs each time (up to `most_us`
 * microseconds, from the worker's random numbers), so that the two parts begin close together, now one first
 * and now the other.  Returns whether the other side came; after a fifth of a second, or when the round is over, it
 * has not.
 */
bool gt_meet(unsigned int window, unsigned int side, struct gt_worker *w, unsigned int most_us);
/* This worker's part begins, and ends. */
void gt_enter(unsigned int window, unsigned int side);
void gt_leave(unsigned int window, unsigned int side);
/* Spin for as long: a sleep would be a tick or more. */
void gt_spin(unsigned int us);
uint64_t gt_overlaps(unsigned int window);

/* --- random numbers ------------------------------------------------------ */

/* Stream number `stream` of `seed`; streams of one seed have nothing in common. */
void gt_random_seed(struct gt_random *r, uint64_t seed, uint64_t stream);
uint64_t gt_random_u64(struct gt_random *r);
/* Evenly from 0 to n - 1; n must not be 0. */
uint32_t gt_random_below(struct gt_random *r, uint32_t n);
/* True once in n. */
bool gt_random_one_in(struct gt_random *r, uint32_t n);

/* --- files ---------------------------------------------------------------- */

/* All of these return 0 or a count, or -errno. */
int gt_write(int dir, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
int gt_read(int dir, const char *path, char *text, size_t size);
/* A file that holds one number. */
long long gt_read_number(int dir, const char *path);
/* The number after `key` in a file of "key number" lines (memory.stat, cgroup.stat, memory.events). */
long long gt_read_key(int dir, const char *path, const char *key);
/* A folder and all below it; what is not there is no error. */
int gt_remove_all(int dir, const char *path);

/* --- cgroup v2 -------------------------------------------------------------- */

/* The program's own cgroup, an open folder: empty, with the memory controller on for what is made below. */
int gt_cgroup(void);
/* Make a cgroup below `parent`, with memory on for its children if it is to have any. */
int gt_cgroup_make(int parent, const char *name, bool inner);
/*
 * Make a folder with cgroups "0" to "n - 1" that have no memcg of their own until the folder's
 * cgroup.subtree_control gets "+memory"; with "-memory" they lose it.  That is what makes and frees
 * memcgs soonest: mkdir also makes some twenty files of the cgroup itself, and rmdir removes them.
 */
int gt_cgroup_make_many(int parent, const char *name, unsigned int n);
/* Turn the memory controller on ("+memory") or off ("-memory") below; the program ends when that fails. */
void gt_cgroup_memory(int cgroup, const char *change);
/* Move this process. */
int gt_cgroup_enter(int parent, const char *name);
/* rmdir; a process that is on its way out keeps a cgroup busy for a moment, so try for a second. */
int gt_cgroup_remove(int parent, const char *name);
/* The same for all that is below. */
int gt_cgroup_remove_below(int parent);
/*
 * Give back all that pins dead memcgs below `cgroup` (page cache of theirs, swapped pages, cached
 * dentries and inodes, charges cached by CPU) until none is left or `seconds` are over; true if
 * none is left.
 */
bool gt_cgroup_drain(int cgroup, double seconds);
/*
 * Checks that several programs make of their own cgroup: that nobody below it was killed for want of memory; and that no
 * swap and less than `most` bytes are charged to it, which it says.
 */
bool gt_no_oom_kill(void);
bool gt_charges_back(long long most);

/* --- mounts ------------------------------------------------------------------ */

/* Mounts of our own from here on: when the program is killed they go with its last process. */
bool gt_mounts_private(void);
/* Make an ext4 on a RAM disk, from the guest's image of one. */
bool gt_ext4_write(const char *device);
/* mount(2) on a folder that is made when it is not there; says why not. */
bool gt_mount(const char *type, const char *source, const char *point, const char *options);
/* umount(2), which is busy for a moment when a shrinker holds an inode of it; says why not. */
bool gt_unmount(const char *point, double seconds);

/* --- shrinkers (debugfs) --------------------------------------------------------- */

/* The folder of the shrinker whose name without its number is `prefix` ("sb-ext4:ram1"). */
bool gt_shrinker_find(const char *prefix, char *path, size_t size);
/* What it counts for the memcg whose cgroup has inode `ino`, by node; 0 where there is nothing. */
int gt_shrinker_count(const char *shrinker, unsigned long long ino, long long *counts, unsigned int nodes);
/* Let it scan at most so many objects of that memcg on a node. */
int gt_shrinker_scan(const char *shrinker, unsigned long long ino, unsigned int node, unsigned long most);
/* The inode of an open folder. */
unsigned long long gt_ino(int fd);

#endif
