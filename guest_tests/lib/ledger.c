// SPDX-License-Identifier: MIT
/*
 * The books: what the kernel holds when it is at rest, one row a counter.
 *
 * What is read and by which file stands in docs/ledgers.md, how it is judged in pipeline/ledger.  A book is
 *
 *	# ledger <round> cycles=<n> <row>=<n> ...	as many lines as it takes; rows of 0 are left out
 *	# ledger <round> unstable <row> ...		rows that differ between the last two readings
 *	# ledger <round> end rows=<n> attempts=<n> ms=<n>
 *
 * Rest is what the kernel is brought to here: dirty data written, caches dropped, swap emptied, charges that CPUs
 * keep given back, callbacks of RCU run, and KASAN's quarantine emptied for the slab caches that have changed (a
 * freed object in it counts as in use).  Then two readings in a row have to agree in what belongs to cgroups; of slab
 * objects the lowest reading counts, since nobody but a leak keeps them from getting fewer.
 *
 * Only in a guest of ours: elsewhere the rows are read and nothing is touched, since nobody wants the caches of
 * his machine dropped by a test of this library.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "inside.h"

#define CGROUPS		"/sys/fs/cgroup"
#define SHRINKERS	"/sys/kernel/debug/shrinker"
#define ROWS		2048
#define LIVING		4096
#define NODES		64
#define LINE		480	/* bytes of a line, so that it leaves in one piece */
#define ATTEMPTS	5
/* Seconds that dying memcgs have, since release and free are work items with grace periods between them. */
#define DYING		3.0

struct row {
	char name[72];
	long long value;
};

struct book {
	unsigned int n;
	bool full;
	struct row rows[ROWS];
};

/* The reading before, the one that is made, and what was last printed. */
static struct book books[2], printed;
static char text[1 << 18];

static struct row *find(struct book *book, const char *name, unsigned int near)
{
	unsigned int i;

	/* Two books mostly have the same rows in the same order. */
	for (i = 0; i < book->n; i++) {
		struct row *row = &book->rows[(near + i) % book->n];

		if (!strcmp(row->name, name))
			return row;
	}
	return NULL;
}

static void put(struct book *book, long long value, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A row; of one that is there already the values add up. */
static void put(struct book *book, long long value, const char *format, ...)
{
	char name[sizeof(book->rows[0].name)], *at;
	struct row *row;
	va_list list;

	if (!value)
		return;
	va_start(list, format);
	vsnprintf(name, sizeof(name), format, list);
	va_end(list);
	for (at = name; *at; at++)
		if (*at <= ' ' || *at == '=' || *at > '~')
			*at = '_';
	row = find(book, name, 0);
	if (row) {
		row->value += value;
	} else if (book->n < ROWS) {
		row = &book->rows[book->n++];
		snprintf(row->name, sizeof(row->name), "%s", name);
		row->value = value;
	} else {
		book->full = true;
	}
}

/* --- reading ------------------------------------------------------------------ */

/* All of a file in `text`, or an empty text. */
static char *load(int dir, const char *path)
{
	if (gt_read(dir, path, text, sizeof(text)) < 0)
		text[0] = '\0';
	return text;
}

/* The lines of `load`, one after the other, cut at their ends. */
static char *next_line(char **rest)
{
	return **rest ? strsep(rest, "\n") : NULL;
}

#define each_line(line, rest, dir, path) \
	for (rest = load(dir, path); rest && (line = next_line(&rest));)

static void read_cgroups(struct book *book)
{
	char *line, *rest, name[40];
	long long value;
	int hierarchies = 0;

	each_line(line, rest, AT_FDCWD, CGROUPS "/cgroup.stat")
		if (sscanf(line, "%39s %lld", name, &value) == 2)
			put(book, value, "cgroup.%s", name);
	/* kernel/cgroup/cgroup-v1.c, proc_cgroupstats_show: with those that are dying. */
	each_line(line, rest, AT_FDCWD, "/proc/cgroups")
		if (sscanf(line, "%39s %*d %lld", name, &value) == 2 && name[0] != '#')
			put(book, value, "cgroups.%s", name);
	each_line(line, rest, AT_FDCWD, "/proc/self/cgroup")
		hierarchies++;
	put(book, hierarchies, "cgroups.hierarchies");
}

/* What is charged to the program's own cgroup when nothing is left in it. */
static void read_charges(struct book *book, int cgroup)
{
	static const char *const files[] = {
		"memory.current", "memory.swap.current", "memory.zswap.current",
	};
	/* Those of memory.stat that say how much there is; the others count what happened. */
	static const char *const stats[] = {
		"anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc",
		"shmem", "zswap", "zswapped", "file_mapped", "file_dirty", "file_writeback", "swapcached", "anon_thp",
		"file_thp", "shmem_thp", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable",
		"slab_reclaimable", "slab_unreclaimable", "slab", "hugetlb",
	};
	char *line, *rest, name[40];
	long long value;
	unsigned int i;

	/* Flushes the counters of all CPUs, which memory.stat puts off (mm/memcontrol.c, memcg_vmstats_needs_flush). */
	load(cgroup, "cpu.stat");
	for (i = 0; i < GT_ARRAY(files); i++) {
		value = gt_read_number(cgroup, files[i]);
		if (value > 0)
			put(book, value, "%s", files[i]);
	}
	each_line(line, rest, cgroup, "memory.stat") {
		if (sscanf(line, "%39s %lld", name, &value) != 2)
			continue;
		for (i = 0; i < GT_ARRAY(stats); i++)
			if (!strcmp(name, stats[i]))
				put(book, value, "memory.stat.%s", name);
	}
}

static void read_slabs(struct book *book)
{
	char *line, *rest, name[56];
	long long active, pages, slabs;

	/* mm/slab_common.c, cache_show */
	each_line(line, rest, AT_FDCWD, "/proc/slabinfo") {
		if (sscanf(line, "%55s %lld %*d %*d %*d %lld : tunables %*d %*d %*d : slabdata %*d %lld", name, &active,
			   &pages, &slabs) != 4)
			continue;
		put(book, active, "slab.%s", name);
		put(book, pages * slabs, "slabpages.%s", name);
	}
}

/* Kilobytes of swap in use. */
static long long swapped(void)
{
	char *line, *rest;
	long long sum = 0, used;

	each_line(line, rest, AT_FDCWD, "/proc/swaps")
		if (sscanf(line, "/%*s %*s %*d %lld", &used) == 1)
			sum += used;
	return sum;
}

static void read_memory(struct book *book)
{
	static const char *const keys[] = {
		"PageTables:", "SecPageTables:", "KernelStack:", "VmallocUsed:", "Percpu:", "Zswap:", "Zswapped:",
	};
	char *line, *rest, name[40];
	long long value;
	unsigned int i;

	each_line(line, rest, AT_FDCWD, "/proc/meminfo") {
		if (sscanf(line, "%39s %lld", name, &value) != 2)
			continue;
		for (i = 0; i < GT_ARRAY(keys); i++)
			if (!strcmp(name, keys[i]))
				put(book, value, "meminfo.%.*s", (int)strlen(name) - 1, name);
	}
	put(book, swapped(), "swap.used");
	/* mm/percpu-stats.c, percpu_stats_show; what is below these lines is long. */
	each_line(line, rest, AT_FDCWD, "/sys/kernel/debug/percpu_stats") {
		if (sscanf(line, " nr_cur_alloc : %lld", &value) == 1)
			put(book, value, "percpu.allocations");
		if (sscanf(line, " nr_chunks : %lld", &value) == 1)
			put(book, value, "percpu.chunks");
		if (strstr(line, "Per Chunk"))
			break;
	}
}

/* Free pages, with those that CPUs keep for themselves, and who has the others. */
static void read_nodes(struct book *book)
{
	static const char *const keys[] = {
		"nr_anon_pages", "nr_file_pages", "nr_shmem", "nr_slab_reclaimable", "nr_slab_unreclaimable",
		"nr_kernel_stack", "nr_page_table_pages", "nr_kernel_misc_reclaimable", "nr_zspages", "nr_mlock",
	};
	char *line, *rest, name[40];
	long long value;
	int node = -1;
	unsigned int i;

	/* mm/vmstat.c, zoneinfo_show_print */
	each_line(line, rest, AT_FDCWD, "/proc/zoneinfo") {
		if (sscanf(line, "Node %d, zone", &node) == 1 || node < 0)
			continue;
		if (sscanf(line, "  pages free %lld", &value) == 1 || sscanf(line, " count: %lld", &value) == 1)
			put(book, value, "node%d.free", node);
		else if (sscanf(line, " %39s %lld", name, &value) == 2)
			for (i = 0; i < GT_ARRAY(keys); i++)
				if (!strcmp(name, keys[i]))
					put(book, value, "node%d.%s", node, name);
	}
}

static void read_sockets(struct book *book)
{
	char *line, *rest;

	/* net/ipv4/proc.c, sockstat_seq_show: "TCP: inuse 1 orphan 0 ..." */
	each_line(line, rest, AT_FDCWD, "/proc/net/sockstat") {
		char *protocol = strsep(&line, ":"), *key, *value;

		while (line && (line += strspn(line, " ")) && (key = strsep(&line, " ")) && (value = strsep(&line, " ")))
			put(book, atoll(value), "socket.%s.%s", protocol, key);
	}
}

/* --- lists of shrinkers --------------------------------------------------------------- */

static struct {
	unsigned int n;
	unsigned long long inodes[LIVING];
} living;

/* Inodes of the cgroups below `path` that have a memcg. */
static void find_living(const char *path)
{
	char below[512];
	struct dirent *entry;
	struct stat info;
	DIR *folder;

	snprintf(below, sizeof(below), "%s/memory.stat", path);
	if (!access(below, F_OK) && !stat(path, &info) && living.n < LIVING)
		living.inodes[living.n++] = info.st_ino;
	folder = opendir(path);
	while (folder && (entry = readdir(folder)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
		    snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) < (int)sizeof(below))
			find_living(below);
	if (folder)
		closedir(folder);
}

static bool lives(unsigned long long inode)
{
	unsigned int i;

	for (i = 0; i < living.n; i++)
		if (living.inodes[i] == inode)
			return true;
	/* 0 and 1: no memcg, and the root, which has no memory.stat in every version. */
	return inode <= 1;
}

/* One shrinker's file: "<inode of a cgroup> <objects on node 0> ..." (mm/shrinker_debug.c); what it has in all. */
static long long read_shrinker(struct book *book, const char *name)
{
	size_t length = strlen(name);
	long long objects = 0;
	char path[320], *line, *rest;

	snprintf(path, sizeof(path), SHRINKERS "/%s/count", name);
	/* "sb-ext4:ram1-37": the number is another for each mount. */
	while (length && name[length - 1] >= '0' && name[length - 1] <= '9')
		length--;
	if (length && name[length - 1] == '-')
		length--;
	else
		length = strlen(name);
	each_line(line, rest, AT_FDCWD, path) {
		char *field = strsep(&line, " ");
		bool alive = lives(strtoull(field, NULL, 10));
		int node = 0;

		for (; (field = strsep(&line, " ")); node++) {
			put(book, atoll(field), "%s.%.*s.node%d", alive ? "lru" : "dead", (int)length, name, node);
			objects += atoll(field);
		}
	}
	return objects;
}

/*
 * Objects that no shrinker of a living memcg has on its lists are on a dead list: neither reclaim nor drop_caches
 * gets to them, since both ask living memcgs only (mm/shrinker.c, shrink_slab_memcg).
 */
static void read_lists(struct book *book)
{
	long long dentries = 0, unused_dentries = 0, inodes = 0, unused_inodes = 0, listed = 0, shrinkers = 0;
	struct dirent *entry;
	DIR *folder = opendir(SHRINKERS);
	char *line, *rest;

	living.n = 0;
	find_living(CGROUPS);
	each_line(line, rest, AT_FDCWD, "/proc/mounts") {
		char point[256], options[512];

		if (sscanf(line, "%*s %255s cgroup %511s", point, options) != 2 || !strstr(options, "memory"))
			continue;
		find_living(point);
		/* find_living() does not read files, so `text` is whole. */
	}
	while (folder && (entry = readdir(folder))) {
		long long objects;

		if (entry->d_name[0] == '.')
			continue;
		shrinkers++;
		objects = read_shrinker(book, entry->d_name);
		if (!strncmp(entry->d_name, "sb-", 3))
			listed += objects;
	}
	if (folder)
		closedir(folder);
	put(book, shrinkers, "shrinkers");
	/* fs/dcache.c, struct dentry_stat_t; fs/inode.c, struct inodes_stat_t */
	each_line(line, rest, AT_FDCWD, "/proc/sys/fs/dentry-state")
		sscanf(line, "%lld %lld", &dentries, &unused_dentries);
	each_line(line, rest, AT_FDCWD, "/proc/sys/fs/inode-nr")
		sscanf(line, "%lld %lld", &inodes, &unused_inodes);
	put(book, dentries, "fs.dentries");
	put(book, inodes, "fs.inodes");
	put(book, unused_dentries, "fs.dentries_unused");
	put(book, unused_inodes, "fs.inodes_unused");
	if (shrinkers && unused_dentries + unused_inodes > listed)
		put(book, unused_dentries + unused_inodes - listed, "dead.unlisted");
}

static void read_book(struct book *book, int cgroup)
{
	book->n = 0;
	book->full = false;
	read_cgroups(book);
	if (cgroup >= 0)
		read_charges(book, cgroup);
	read_slabs(book);
	read_memory(book);
	read_nodes(book);
	read_sockets(book);
	read_lists(book);
}

/* --- rest ---------------------------------------------------------------------------------- */

static bool in_our_guest(void)
{
	return strstr(load(AT_FDCWD, "/proc/cmdline"), "kpv.nonce=") != NULL;
}

static void on_alarm(int number)
{
	(void)number;
}

/*
 * Charges that CPUs keep for the next time (mm/memcontrol.c, struct memcg_stock_pcp) count as used.  A limit below what
 * is used takes them back first and then reclaims again and again, which a signal ends.
 */
static void drain_stock(int cgroup)
{
	struct sigaction action = { .sa_handler = on_alarm }, before;
	static const struct itimerval soon = { .it_value.tv_usec = 50000 }, never;
	char high[32];

	if (gt_read(cgroup, "memory.high", high, sizeof(high)) <= 0 || gt_read_number(cgroup, "memory.current") <= 0)
		return;
	high[strcspn(high, "\n")] = '\0';
	sigaction(SIGALRM, &action, &before);
	setitimer(ITIMER_REAL, &soon, NULL);
	gt_write(cgroup, "memory.high", "0");
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
	gt_write(cgroup, "memory.high", "%s", high);
}

static void bring_to_rest(int cgroup, bool first)
{
	/* Dirty pages are not dropped.  The agent has told drop_caches not to speak of it. */
	sync();
	gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "3");
	if (cgroup >= 0)
		drain_stock(cgroup);
	/* Its reclaim may have swapped something out. */
	if (first || swapped())
		gt_swap_drain();
	/* All callbacks that wait now (kernel/rcu/tree.c, param_set_do_rcu_barrier), and a grace period in any case. */
	gt_write(AT_FDCWD, "/sys/module/rcutree/parameters/do_rcu_barrier", "1");
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	/* Counters of pages are kept by CPU, too (mm/vmstat.c, vmstat_refresh). */
	gt_write(AT_FDCWD, "/proc/sys/vm/stat_refresh", "1");
}

/* Give back free slabs, and what KASAN holds of it, of the caches that differ from `before`. */
static void shrink_slabs(struct book *now, struct book *before)
{
	unsigned int i;

	for (i = 0; i < now->n; i++) {
		const char *cache = now->rows[i].name + strlen("slab.");
		struct row *was;
		char path[128];

		if (strncmp(now->rows[i].name, "slab.", strlen("slab.")))
			continue;
		was = find(before, now->rows[i].name, i);
		if (was && was->value == now->rows[i].value)
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", cache);
		gt_write(AT_FDCWD, path, "1");
	}
}

/* Rows that have to stand still: the others are of the whole machine, and reading them moves some. */
static bool must_rest(const char *name)
{
	static const char *const kinds[] = {
		"cgroup", "memory.current", "memory.swap", "memory.zswap", "dead.", "shrinkers", "swap.",
	};
	unsigned int i;

	for (i = 0; i < GT_ARRAY(kinds); i++)
		if (!strncmp(name, kinds[i], strlen(kinds[i])))
			return true;
	return false;
}

/* The name of the next row, from `*at` on, that differs between two books, or NULL. */
static const char *next_difference(struct book *one, struct book *two, unsigned int *at)
{
	/* Rows of the one, then those that only the other has. */
	for (; *at < one->n + two->n; (*at)++) {
		bool first = *at < one->n;
		struct row *row = first ? &one->rows[*at] : &two->rows[*at - one->n], *other;

		if (!must_rest(row->name))
			continue;
		other = find(first ? two : one, row->name, first ? *at : *at - one->n);
		if (other && (!first || other->value == row->value))
			continue;
		(*at)++;
		return row->name;
	}
	return NULL;
}

/* Objects that were free in one reading and cached by a CPU in the other are free. */
static void take_lowest(struct book *now, struct book *before)
{
	unsigned int i;

	for (i = 0; i < now->n; i++) {
		struct row *was = strncmp(now->rows[i].name, "slab", 4) ? NULL : find(before, now->rows[i].name, i);

		if (was && was->value < now->rows[i].value)
			now->rows[i].value = was->value;
	}
}

static bool agree(struct book *one, struct book *two)
{
	unsigned int at = 0;

	return !next_difference(one, two, &at);
}

/* --- printing --------------------------------------------------------------------------------- */

static struct {
	char line[LINE];
	int length, head;
} out;

static void begin_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void begin_line(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	out.head = out.length = vsnprintf(out.line, sizeof(out.line), format, list);
	va_end(list);
}

static void flush_line(void)
{
	if (out.length > out.head)
		gt_print("%s", out.line);
	out.length = out.head;
}

static void add_word(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void add_word(const char *format, ...)
{
	char word[128];
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(word, sizeof(word), format, list);
	va_end(list);
	if (out.length + 1 + n >= LINE)
		flush_line();
	out.length += snprintf(out.line + out.length, sizeof(out.line) - out.length, " %s", word);
}

static void print_book(struct book *book, struct book *before, unsigned int round, unsigned int attempts, double began)
{
	const char *name;
	unsigned int i;

	begin_line("# ledger %u cycles=%llu", round, (unsigned long long)atomic_load(&gt_shared->cycles));
	for (i = 0; i < book->n; i++)
		add_word("%s=%lld", book->rows[i].name, book->rows[i].value);
	flush_line();
	begin_line("# ledger %u unstable", round);
	for (i = 0; before && (name = next_difference(before, book, &i));)
		add_word("%s", name);
	flush_line();
	/* A book that did not fit says one row more than it has, and is not believed. */
	gt_print("# ledger %u end rows=%u attempts=%u ms=%.0f", round, book->n + book->full, attempts,
		 1000 * (gt_now() - began));
}

void gt_ledger_print(unsigned int round)
{
	double began = gt_now();
	struct book *now = &books[0], *before = &books[1], *other;
	bool ours = in_our_guest(), rested = false;
	int cgroup = ours ? gt_cgroup() : -1;
	unsigned int attempts = 0;

	while (!rested && attempts < ATTEMPTS) {
		other = before;
		before = now;
		now = other;
		if (ours) {
			bring_to_rest(cgroup, !attempts);
			now->n = 0;
			read_slabs(now);
			/* The book of the start only says what there is: growth is from round to round. */
			if (round)
				shrink_slabs(now, attempts ? before : &printed);
		}
		read_book(now, cgroup);
		if (attempts)
			take_lowest(now, before);
		attempts++;
		rested = !ours || (attempts > 1 && agree(before, now));
		if (rested && find(now, "cgroup.nr_dying_descendants", 0) && gt_now() < began + DYING)
			rested = false;
	}
	print_book(now, rested ? NULL : before, round, attempts, began);
	printed = *now;
}
