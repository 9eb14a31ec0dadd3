// SPDX-License-Identifier: MIT
/*
 * Statistics that are read while what they are about is made and removed.
 *
 * A memcg's counts live by CPU.  A flush walks the tree of those that were updated and adds each one's
 * difference to its parent (kernel/cgroup/rstat.c, cgroup_rstat_flush; mm/memcontrol.c,
 * mem_cgroup_css_rstat_flush); the release of a memcg flushes it for the last time and takes it off that tree
 * (cgroup.c, css_release_work_fn; rstat.c, cgroup_rstat_exit).  Its files go while somebody has them open and reads,
 * its events (memory.events, notified through kernfs) while somebody polls, its pressure triggers (kernel/sched/psi.c)
 * while their owner closes them.  One side here makes, fills and removes; the other reads the parents,
 * reads the very memcg that goes, or sets a trigger on it.  What was charged is given back only after
 * the removal, so that the counts of dead memcgs are still moving when they are flushed.
 *
 *	parent			has no process and no page of its own, so it is the sum of what is below
 *	 steady/0..2		hold the same pages all the time
 *	 moving/t<n>/0..7	lose their memcg (subtree_control), and get one again
 *	 moving/m<n>.<m>	are made and removed
 *
 * A bug: any splat; a value that is negative or of a size that no counter can reach (an underflow); a count of
 * events that goes down; a parent that has less than its steady children while the others move, by more
 * than the statistics may be late; and, at rest, a parent that is not the sum of its children, or memory.stat that is
 * not the sum of memory.numa_stat over the nodes.
 *
 * How late they may be: a CPU keeps less than MEMCG_CHARGE_BATCH pages of updates to itself before it tells
 * (memcg_rstat_updated), and a reader flushes only when MEMCG_CHARGE_BATCH * num_online_cpus() were told
 * (memcg_vmstats_needs_flush), so 2 * 64 * CPUs pages.  A flush takes the CPUs one after another: what is charged
 * on one behind it and given back on one before it counts as given back alone, so all that the moving side
 * holds comes on top.  page_counter is exact at all times: memory.current has no allowance.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/gt.h"

#define PAGE		4096LL
#define STEADY		3
#define STEADY_PAGES	1024
#define BATCH		8		/* memcgs that are made and removed together */
#define FILL_PAGES	16		/* of each kind in one of them */
#define CHARGE_BATCH	64		/* include/linux/memcontrol.h, MEMCG_CHARGE_BATCH */
#define TEXT		16384
#define PAIRS		32
#define WAIT		0.0005
#define SETTLE		8.0		/* seconds: four times FLUSH_TIME (mm/memcontrol.c) */
/* No counter of a guest that runs for minutes gets here, and every negative one is beyond. */
#define IMPOSSIBLE	(1ULL << 50)

enum { FLUSHES, READS, GONE, TRIGGERS, WAKEUPS, REMOVED, LATE };

static const char *const figures[] = {
	"flushes", "reads", "gone_while_read", "triggers", "wakeups", "removed", "late", NULL,
};

enum { FLUSH_RELEASE, READ_REMOVAL, TRIGGER_REMOVAL };
enum { REMOVER, OBSERVER };

static const struct gt_window windows[] = {
	[FLUSH_RELEASE] = { "flush_vs_release", { "release", "flush" } },
	[READ_REMOVAL] = { "read_vs_removal", { "removal", "read" } },
	[TRIGGER_REMOVAL] = { "trigger_vs_removal", { "removal", "trigger" } },
	{ .name = NULL },
};

/* memory.stat: pages, where a parent without pages of its own is the sum. */
static const char *const pages[] = {
	"anon", "file", "shmem", "file_mapped", "file_dirty", "file_writeback", "anon_thp", "file_thp", "shmem_thp",
	"inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "zswap", "zswapped",
};

/* What a parent may also have of its own, since objects of the dead become the parent's. */
static const char *const kernels[] = {
	"kernel", "kernel_stack", "pagetables", "percpu", "sock", "vmalloc", "slab_reclaimable", "slab_unreclaimable",
};

/* What only ever grows. */
static const char *const events[] = {
	"pgfault", "pgmajfault", "pgscan", "pgsteal", "pgrefill", "pgactivate", "pgdeactivate", "pglazyfree",
	"zswpin", "zswpout", "thp_fault_alloc",
};

/* A remover and the observer who watches it; the remover of rank n and the observer of rank n. */
struct pair {
	_Atomic unsigned int turn;	/* a batch stands, odd: may be watched; even: gone */
	_Atomic unsigned int watched;	/* the turn that the observer is ready for */
	bool toggled;
	unsigned int born;		/* number of the first, if it was made */
};

static struct shared {
	_Atomic unsigned int wrong;
	struct pair pairs[PAIRS];
} *shared;

static int parent = -1, steady = -1, moving = -1, leaves[STEADY], held[STEADY];
static long long allowance;			/* bytes */

struct remover {
	char home[16], toggled_name[16];
	int toggled;			/* folder */
	unsigned int born;
	int kept_fd[BATCH];
	void *kept[BATCH];
	unsigned int kept_n;
};

struct observer {
	unsigned long long last[GT_ARRAY(events)], last_usage;
	unsigned int seen;		/* turn */
};

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void wrong(const char *format, ...)
{
	char text[300];
	va_list list;

	/* The first few say enough. */
	if (atomic_fetch_add(&shared->wrong, 1) >= 12)
		return;
	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	gt_note("wrong: %s", text);
}

/* --- what is read -------------------------------------------------------------------------- */

static bool find(const char *text, const char *key, unsigned long long *value)
{
	size_t length = strlen(key);
	const char *line = text;

	while (line && *line) {
		if (!strncmp(line, key, length) && line[length] == ' ') {
			*value = strtoull(line + length, NULL, 10);
			return true;
		}
		line = strchr(line, '\n');
		line += line != NULL;
	}
	return false;
}

/* Of a line "key N0=1 N1=2": the sum. */
static bool find_nodes(const char *text, const char *key, unsigned long long *sum)
{
	size_t length = strlen(key);
	const char *line = text;

	while (line && *line && (strncmp(line, key, length) || line[length] != ' ')) {
		line = strchr(line, '\n');
		line += line != NULL;
	}
	if (!line || !*line)
		return false;
	*sum = 0;
	for (line += length; *line && *line != '\n'; line++)
		if (*line == '=')
			*sum += strtoull(line + 1, NULL, 10);
	return true;
}

/* Every number of a file: neither below zero nor above what is possible. */
static void check_numbers(const char *what, const char *text)
{
	const char *at, *line = text;

	for (at = text; *at; at++) {
		if (at != text && !strchr(" =\n", at[-1]))
			continue;
		if (at != text && at[-1] == '\n')
			line = at;
		if (*at == '-' || strtoull(at, NULL, 10) >= IMPOSSIBLE)
			wrong("%s has %.*s", what, (int)strcspn(line, "\n"), line);
	}
}

/* Read an open file from its start; false when it has gone, which is fine. */
static bool read_open(int fd, const char *what, char *text)
{
	ssize_t length = 0, got;

	while (length < TEXT - 1 && (got = pread(fd, text + length, TEXT - 1 - length, length)) > 0)
		length += got;
	text[length] = '\0';
	if (!length) {
		gt_count(GONE, 1);
		return false;
	}
	check_numbers(what, text);
	gt_count(READS, 1);
	return true;
}

static bool read_at(int cgroup, const char *file, char *text)
{
	if (gt_read(cgroup, file, text, TEXT) <= 0)
		return false;
	check_numbers(file, text);
	return true;
}

/* --- setting up ---------------------------------------------------------------------------- */

/* Charge a file's pages to a leaf: a child goes there to write them, so that we need not live in it. */
static bool fill_steady(int number)
{
	char path[32];
	int status = 1;
	pid_t child;

	held[number] = memfd_create("steady", MFD_CLOEXEC);
	if (held[number] < 0)
		return false;
	snprintf(path, sizeof(path), "%d", number);
	child = fork();
	if (!child)
		_exit(gt_cgroup_enter(steady, path) || fallocate(held[number], 0, 0, STEADY_PAGES * PAGE));
	return child > 0 && waitpid(child, &status, 0) == child && !status;
}

static int make(int where, const char *name, bool inner)
{
	int made = gt_cgroup_make(where, name, inner);

	if (made < 0)
		gt_note("%s: %s", name, strerror(-made));
	return made;
}

static bool setup(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int removers = (gt_workers() + 1) / 2;
	char name[16];
	int i;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	parent = make(gt_cgroup(), "parent", true);
	if (shared == MAP_FAILED || parent < 0)
		return false;
	steady = make(parent, "steady", true);
	moving = make(parent, "moving", true);
	if (steady < 0 || moving < 0)
		return false;
	/* Nothing takes the steady pages away: protection holds from the top down. */
	if (gt_write(parent, "memory.min", "64M") || gt_write(steady, "memory.min", "64M"))
		return false;
	for (i = 0; i < STEADY; i++) {
		snprintf(name, sizeof(name), "%d", i);
		leaves[i] = make(steady, name, false);
		if (leaves[i] < 0 || gt_write(leaves[i], "memory.min", "16M") || !fill_steady(i)) {
			gt_note("no steady leaf %d", i);
			return false;
		}
	}
	allowance = (2LL * CHARGE_BATCH * cpus + 2LL * removers * BATCH * FILL_PAGES) * PAGE;
	gt_note("allowance=%lld steady_bytes=%lld", allowance, STEADY * STEADY_PAGES * PAGE);
	return true;
}

/* --- the side that removes ------------------------------------------------------------------- */

static void remover_begin(struct gt_worker *w)
{
	struct remover *r = calloc(1, sizeof(*r));
	int home;

	if (!r)
		gt_die("no memory");
	snprintf(r->home, sizeof(r->home), "h%u", w->rank);
	home = gt_cgroup_make(gt_cgroup(), r->home, false);
	if (home < 0)
		gt_die("%s: %s", r->home, strerror(-home));
	close(home);
	snprintf(r->toggled_name, sizeof(r->toggled_name), "t%u", w->rank);
	r->toggled = gt_cgroup_make_many(moving, r->toggled_name, BATCH);
	if (r->toggled < 0)
		gt_die("%s: %s", r->toggled_name, strerror(-r->toggled));
	atomic_store(&shared->pairs[w->rank % PAIRS].turn, 0);
	atomic_store(&shared->pairs[w->rank % PAIRS].watched, 0);
	w->own = r;
}

static void name_of(char *name, size_t size, unsigned int rank, const struct pair *pair, unsigned int i)
{
	if (pair->toggled)
		snprintf(name, size, "t%u/%u", rank, i);
	else
		snprintf(name, size, "m%u.%u", rank, pair->born + i);
}

/* Pages of both kinds, kept until the memcg has gone. */
static void fill(struct remover *r)
{
	int fd = memfd_create("moving", MFD_CLOEXEC);

	r->kept[r->kept_n] = mmap(NULL, FILL_PAGES * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (fd >= 0 && fallocate(fd, 0, 0, FILL_PAGES * PAGE)) {
		close(fd);
		fd = -1;
	}
	r->kept_fd[r->kept_n++] = fd;
}

static void let_go(struct remover *r)
{
	while (r->kept_n) {
		r->kept_n--;
		if (r->kept[r->kept_n] != MAP_FAILED)
			munmap(r->kept[r->kept_n], FILL_PAGES * PAGE);
		if (r->kept_fd[r->kept_n] >= 0)
			close(r->kept_fd[r->kept_n]);
	}
}

static void wait_for_observer(struct pair *pair, unsigned int turn)
{
	double until = gt_now() + 0.2;

	while (atomic_load(&pair->watched) != turn && gt_now() < until && !gt_over())
		gt_sleep(WAIT);
}

static void remove_batch(struct gt_worker *w)
{
	struct remover *r = w->own;
	struct pair *pair = &shared->pairs[w->rank % PAIRS];
	unsigned int n, i, turn;
	bool entered = false;
	char name[32];

	pair->toggled = gt_random_one_in(&w->random, 2);
	pair->born = r->born;
	n = pair->toggled ? BATCH : BATCH / 2;
	r->born += n;
	if (pair->toggled)
		gt_cgroup_memory(r->toggled, "+memory");
	for (i = 0; i < n; i++) {
		name_of(name, sizeof(name), w->rank, pair, i);
		if (!pair->toggled && mkdirat(moving, name, 0755))
			gt_die("%s: %s", name, strerror(errno));
		if (gt_random_one_in(&w->random, 2))
			continue;
		if (gt_cgroup_enter(moving, name))
			gt_die("%s cannot be entered", name);
		entered = true;
		fill(r);
	}
	if (entered && gt_cgroup_enter(gt_cgroup(), r->home))
		gt_die("%s cannot be entered", r->home);
	if (entered && gt_random_one_in(&w->random, 4)) {
		char path[64];

		/* Pages in swap.  From outside: who is in it sleeps for being over its limit (calculate_high_delay). */
		snprintf(path, sizeof(path), "%s/memory.high", name);
		gt_write(moving, path, "32K");
	}

	turn = atomic_fetch_add(&pair->turn, 1) + 1;
	wait_for_observer(pair, turn);
	gt_spin(gt_random_below(&w->random, 300));
	gt_enter(FLUSH_RELEASE, REMOVER);
	gt_enter(READ_REMOVAL, REMOVER);
	if (pair->toggled) {
		gt_cgroup_memory(r->toggled, "-memory");
	} else {
		gt_enter(TRIGGER_REMOVAL, REMOVER);
		for (i = 0; i < n; i++) {
			int error;

			name_of(name, sizeof(name), w->rank, pair, i);
			error = gt_cgroup_remove(moving, name);
			if (error)
				gt_die("%s cannot be removed: %s", name, strerror(-error));
		}
		gt_leave(TRIGGER_REMOVAL, REMOVER);
	}
	let_go(r);
	gt_leave(READ_REMOVAL, REMOVER);
	gt_leave(FLUSH_RELEASE, REMOVER);
	atomic_fetch_add(&pair->turn, 1);
	gt_count(REMOVED, n);
	gt_cycles(n);
}

static void remover_end(struct gt_worker *w)
{
	let_go(w->own);
}

/* --- the side that observes ------------------------------------------------------------------- */

/*
 * With CAP_SYS_RESOURCE a trigger has a thread of its own, for which pressure_write lets cgroup_mutex go and then asks
 * of->priv whether the file was released meanwhile; 6.12.117 frees that and does not clear it (cgroup_file_release), so
 * that the base itself writes to freed memory and there is nothing left to see of a series.
 */
static void drop_privilege(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		gt_die("capget: %s", strerror(errno));
	data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
	if (syscall(SYS_capset, &header, data))
		gt_die("capset: %s", strerror(errno));
}

static void observer_begin(struct gt_worker *w)
{
	cpu_set_t set;
	int i;

	drop_privilege();

	w->own = calloc(1, sizeof(struct observer));
	if (!w->own)
		gt_die("no memory");
	/* On another CPU than the remover that it watches: the library puts both on one. */
	for (i = 1; i < CPU_SETSIZE; i++) {
		CPU_ZERO(&set);
		CPU_SET((w->cpu + i) % sysconf(_SC_NPROCESSORS_CONF), &set);
		if (!sched_setaffinity(0, sizeof(set), &set))
			break;
	}
}

/* The parent while its children move: what must be true at every moment. */
static void look_at_parent(struct observer *o)
{
	static char stat[TEXT], nodes[TEXT], cpu[TEXT];
	unsigned long long value, sum;
	long long current, below = 0;
	unsigned int i;

	gt_count(FLUSHES, 1);
	if (!read_at(parent, "cpu.stat", cpu) || !read_at(parent, "memory.stat", stat) ||
	    !read_at(parent, "memory.numa_stat", nodes)) {
		wrong("statistics of a cgroup that stands cannot be read");
		return;
	}
	if (find(cpu, "usage_usec", &value)) {
		if (value < o->last_usage)
			wrong("cpu.stat: usage_usec from %llu to %llu", o->last_usage, value);
		o->last_usage = value;
	}
	for (i = 0; i < GT_ARRAY(events); i++) {
		if (!find(stat, events[i], &value))
			continue;
		if (value < o->last[i])
			wrong("memory.stat: %s from %llu to %llu", events[i], o->last[i], value);
		o->last[i] = value;
	}
	if (find(stat, "shmem", &value) && (long long)value + allowance < STEADY * STEADY_PAGES * PAGE)
		wrong("memory.stat: shmem %llu where the steady children have %lld", value,
		      STEADY * STEADY_PAGES * PAGE);
	if (find_nodes(nodes, "shmem", &sum) && (long long)sum + allowance < STEADY * STEADY_PAGES * PAGE)
		wrong("memory.numa_stat: shmem %llu where the steady children have %lld", sum,
		      STEADY * STEADY_PAGES * PAGE);
	/* The parent first: what the children have can only become less meanwhile. */
	current = gt_read_number(parent, "memory.current");
	for (i = 0; i < STEADY; i++)
		below += gt_read_number(leaves[i], "memory.current");
	if (current < below)
		wrong("memory.current: %lld where the steady children have %lld", current, below);
}

static void flush(struct gt_worker *w, struct pair *pair, unsigned int turn)
{
	static char text[TEXT];
	unsigned int i;

	atomic_store(&pair->watched, turn);
	gt_spin(gt_random_below(&w->random, 300));
	gt_enter(FLUSH_RELEASE, OBSERVER);
	for (i = 0; i < 4; i++) {
		/* cpu.stat is always flushed, memory.stat only when enough is waiting. */
		read_at(moving, "cpu.stat", text);
		read_at(moving, "memory.stat", text);
		look_at_parent(w->own);
	}
	gt_leave(FLUSH_RELEASE, OBSERVER);
}

static const char *const files[] = {
	"memory.stat", "memory.numa_stat", "memory.events", "memory.current", "memory.swap.current", "memory.pressure",
};

static void read_leaf(struct gt_worker *w, struct pair *pair, unsigned int turn, const char *name)
{
	static char text[TEXT];
	int fds[GT_ARRAY(files)];
	bool left = true;
	unsigned int i, n;

	for (i = 0; i < GT_ARRAY(files); i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%s", name, files[i]);
		fds[i] = openat(moving, path, O_RDONLY | O_CLOEXEC);
	}
	atomic_store(&pair->watched, turn);
	gt_spin(gt_random_below(&w->random, 300));
	gt_enter(READ_REMOVAL, OBSERVER);
	for (n = 0; n < 8 && left; n++)
		for (i = 0, left = false; i < GT_ARRAY(files); i++)
			if (fds[i] >= 0 && read_open(fds[i], files[i], text))
				/* memory.pressure is the cgroup's and stays when only its memcg goes. */
				left = left || i + 1 < GT_ARRAY(files);
	gt_leave(READ_REMOVAL, OBSERVER);
	for (i = 0; i < GT_ARRAY(files); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void trigger(struct gt_worker *w, struct pair *pair, unsigned int turn, const char *name)
{
	/* "some" stalls of 1 ms in 2 s (Documentation/accounting/psi.rst): what a user without privileges may ask for. */
	static const char text[] = "some 1000 2000000";
	struct pollfd fds[2];
	char path[64];
	int i;

	snprintf(path, sizeof(path), "%s/memory.pressure", name);
	fds[0] = (struct pollfd){ .fd = openat(moving, path, O_RDWR | O_CLOEXEC), .events = POLLPRI };
	snprintf(path, sizeof(path), "%s/memory.events", name);
	fds[1] = (struct pollfd){ .fd = openat(moving, path, O_RDONLY | O_CLOEXEC), .events = POLLPRI };
	if (fds[0].fd >= 0 && write(fds[0].fd, text, sizeof(text)) > 0)
		gt_count(TRIGGERS, 1);
	atomic_store(&pair->watched, turn);
	gt_spin(gt_random_below(&w->random, 300));
	gt_enter(TRIGGER_REMOVAL, OBSERVER);
	for (i = 0; i < 8; i++)
		if (poll(fds, 2, 1) > 0)
			gt_count(WAKEUPS, 1);
	/* The last reference goes here, or with the file when the cgroup is removed. */
	for (i = 0; i < 2; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	gt_leave(TRIGGER_REMOVAL, OBSERVER);
}

static void observe(struct gt_worker *w)
{
	struct observer *o = w->own;
	struct pair *pair = &shared->pairs[w->rank % PAIRS];
	double until = gt_now() + 1.0;
	unsigned int turn;
	char name[32];

	for (;;) {
		turn = atomic_load(&pair->turn);
		if (turn % 2 && turn != o->seen)
			break;
		if (gt_over() || gt_now() > until) {
			look_at_parent(o);
			return;
		}
		/* Not a spin: the CPU is another pair's remover's. */
		gt_sleep(WAIT);
	}
	o->seen = turn;
	name_of(name, sizeof(name), w->rank, pair, gt_random_below(&w->random, BATCH / 2));
	/* Of a toggled one the pressure file stays, so triggers are for those that are made and removed. */
	if (!pair->toggled && gt_random_one_in(&w->random, 2))
		trigger(w, pair, turn, name);
	else if (gt_random_one_in(&w->random, 2))
		flush(w, pair, turn);
	else
		read_leaf(w, pair, turn, name);
}

/* --- afterwards --------------------------------------------------------------------------------- */

static unsigned int unbalanced;
static bool drained = true;

/* Whether what stands at rest adds up; `why` says what does not. */
static bool adds_up(char *why, size_t size)
{
	static char stats[STEADY + 1][TEXT], nodes[TEXT], flushed[TEXT];
	long long current = 0;
	unsigned int i, k;

	/* Since 6.16 this flushes no memcg, and the flusher of every two seconds has to come by. */
	read_at(parent, "cpu.stat", flushed);
	for (i = 0; i <= STEADY; i++) {
		int cgroup = i < STEADY ? leaves[i] : parent;

		if (!read_at(cgroup, "memory.stat", stats[i]) || !read_at(cgroup, "memory.numa_stat", nodes)) {
			snprintf(why, size, "statistics of a cgroup that stands cannot be read");
			return false;
		}
		for (k = 0; k < GT_ARRAY(pages); k++) {
			unsigned long long all, sum;

			if (find(stats[i], pages[k], &all) && find_nodes(nodes, pages[k], &sum) && all != sum) {
				snprintf(why, size, "%s: memory.stat has %llu, the nodes have %llu", pages[k], all, sum);
				return false;
			}
		}
	}
	for (k = 0; k < GT_ARRAY(pages) + GT_ARRAY(kernels) + GT_ARRAY(events); k++) {
		bool exact = k < GT_ARRAY(pages);
		const char *key = exact ? pages[k] : k < GT_ARRAY(pages) + GT_ARRAY(kernels) ?
				  kernels[k - GT_ARRAY(pages)] : events[k - GT_ARRAY(pages) - GT_ARRAY(kernels)];
		unsigned long long all, one, sum = 0;

		if (!find(stats[STEADY], key, &all))
			continue;
		for (i = 0; i < STEADY; i++)
			if (find(stats[i], key, &one))
				sum += one;
		if (exact ? all == sum : all >= sum)
			continue;
		snprintf(why, size, "%s: the parent has %llu, its children %llu", key, all, sum);
		return false;
	}
	for (i = 0; i < STEADY; i++) {
		unsigned long long shmem = 0;

		current += gt_read_number(leaves[i], "memory.current");
		if (find(stats[i], "shmem", &shmem) && shmem == STEADY_PAGES * PAGE)
			continue;
		snprintf(why, size, "shmem: %llu where %lld were charged", shmem, STEADY_PAGES * PAGE);
		return false;
	}
	if (gt_read_number(parent, "memory.current") >= current)
		return true;
	snprintf(why, size, "memory.current: the parent has less than its children, %lld", current);
	return false;
}

static void settle(void)
{
	char why[160], name[16];
	unsigned int i;
	double until;

	gt_cgroup_remove_below(moving);
	for (i = 0; i < gt_workers(); i++) {
		snprintf(name, sizeof(name), "h%u", i);
		gt_cgroup_remove(gt_cgroup(), name);
	}
	drained = gt_cgroup_drain(gt_cgroup(), 60) && drained;
	for (until = gt_now() + SETTLE; !adds_up(why, sizeof(why)); gt_sleep(0.2)) {
		gt_count(LATE, 1);
		if (gt_now() < until)
			continue;
		gt_note("at rest: %s", why);
		unbalanced++;
		break;
	}
}

static bool no_impossible_value(void)
{
	return !atomic_load(&shared->wrong);
}

static bool sums_at_rest(void)
{
	return !unbalanced;
}

static bool nothing_left_dying(void)
{
	return drained;
}

static void teardown(void)
{
	int i;

	for (i = 0; i < STEADY; i++)
		if (held[i] > 0)
			close(held[i]);
}

static const struct gt_role roles[] = {
	{ .name = "remover", .begin = remover_begin, .cycle = remove_batch, .end = remover_end },
	{ .name = "observer", .begin = observer_begin, .cycle = observe },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "no_impossible_value", no_impossible_value },
	{ "sums_at_rest", sums_at_rest },
	{ "nothing_left_dying", nothing_left_dying },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "stats_race",
	.stresses = "rstat flush, memory.stat, numa_stat, events and PSI while memcgs are made and removed",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
