// SPDX-License-Identifier: MIT
/* main() of every program: arguments, workers, budget, KTAP. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "inside.h"

#define WORKERS_MAX	64

enum { EXIT_OK, EXIT_NOT_OK, EXIT_USAGE, EXIT_SKIP = 4 };

static struct {
	uint64_t seed;
	double budget;
	unsigned int workers;
	const char *cgroup;	/* the program's own cgroup is made below this one */
	int ticks;		/* the agent's memfd for struct shared, or -1 */
	bool list;
	const char *needs[16];
	unsigned int needs_n;
} args = { .seed = 1, .budget = 10, .workers = 2, .cgroup = "/sys/fs/cgroup", .ticks = -1 };

struct shared *gt_shared;
double gt_over_at;
static int own_cgroup = -1;
static char own_name[64];
static unsigned int test_number;
static bool all_ok = true;

/* --- time ------------------------------------------------------------------ */

double gt_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void gt_sleep(double seconds)
{
	struct timespec t = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
	};

	nanosleep(&t, NULL);
}

bool gt_over(void)
{
	return atomic_load_explicit(&gt_shared->over, memory_order_relaxed) || gt_now() >= gt_over_at;
}

/* --- what a run counts and says ----------------------------------------------- */

void gt_cycles(uint64_t n)
{
	atomic_fetch_add_explicit(&gt_shared->cycles, n, memory_order_relaxed);
}

void gt_count(unsigned int figure, uint64_t n)
{
	atomic_fetch_add_explicit(&gt_shared->figures[figure], n, memory_order_relaxed);
}

uint64_t gt_figure(unsigned int figure)
{
	return atomic_load_explicit(&gt_shared->figures[figure], memory_order_relaxed);
}

unsigned int gt_workers(void)
{
	return args.workers;
}

/* One write(2) a line, so that lines of several workers do not mix. */
static void say(const char *before, const char *format, va_list list)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%s", before);
	int more = vsnprintf(line + n, sizeof(line) - n - 1, format, list);
	size_t length = strnlen(line, sizeof(line) - 2);

	if (more < 0)
		return;
	line[length++] = '\n';
	while (write(STDOUT_FILENO, line, length) < 0 && errno == EINTR)
		;
}

void gt_print(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	say("", format, list);
	va_end(list);
}

void gt_note(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	say("# ", format, list);
	va_end(list);
}

void gt_die(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	say("# ", format, list);
	va_end(list);
	_exit(EXIT_NOT_OK);
}

static void result(const char *name, bool ok)
{
	gt_print("%sok %u %s", ok ? "" : "not ", ++test_number, name);
	all_ok = all_ok && ok;
}

static void skip(const char *name, const char *why)
{
	gt_print("ok %u %s # SKIP %s", ++test_number, name, why);
}

/* --- the program's own cgroup ------------------------------------------------------ */

int gt_cgroup(void)
{
	int parent;

	if (own_cgroup >= 0)
		return own_cgroup;
	parent = open(args.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		gt_die("%s: %s", args.cgroup, strerror(errno));
	snprintf(own_name, sizeof(own_name), "%s.%d", gt_program.name, getpid());
	own_cgroup = gt_cgroup_make(parent, own_name, true);
	if (own_cgroup < 0)
		gt_die("%s/%s: %s", args.cgroup, own_name, strerror(-own_cgroup));
	close(parent);
	return own_cgroup;
}

static bool remove_own_cgroup(void)
{
	int parent, error;

	if (own_cgroup < 0)
		return true;
	parent = open(args.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	gt_cgroup_remove_below(own_cgroup);
	close(own_cgroup);
	error = gt_cgroup_remove(parent, own_name);
	close(parent);
	if (error)
		gt_note("%s/%s stays: %s", args.cgroup, own_name, strerror(-error));
	return !error;
}

/* --- main ---------------------------------------------------------------------------- */

static void __attribute__((noreturn)) usage(const char *what)
{
	fprintf(stderr,
		"%s: %s\n"
		"usage: %s [--seed N] [--budget SECONDS] [--workers N] [--cgroup FOLDER] [--need PATH]... [--list]\n",
		gt_program.name, what, gt_program.name);
	exit(EXIT_USAGE);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value < least || value > most) {
		char what[128];

		snprintf(what, sizeof(what), "%.40s is no number from %llu to %llu", text,
			 (unsigned long long)least, (unsigned long long)most);
		usage(what);
	}
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "budget", required_argument, NULL, 'b' },
		{ "workers", required_argument, NULL, 'w' },
		{ "cgroup", required_argument, NULL, 'c' },
		{ "need", required_argument, NULL, 'n' },
		{ "ticks", required_argument, NULL, 't' },
		{ "list", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			args.seed = number(optarg, 0, UINT64_MAX);
			break;
		case 'b':
			args.budget = (double)number(optarg, 1, 86400);
			break;
		case 'w':
			args.workers = (unsigned int)number(optarg, 1, WORKERS_MAX);
			break;
		case 'c':
			args.cgroup = optarg;
			break;
		case 'n':
			if (args.needs_n == GT_ARRAY(args.needs))
				usage("too many --need");
			args.needs[args.needs_n++] = optarg;
			break;
		case 't':
			args.ticks = (int)number(optarg, 3, 1023);
			break;
		case 'l':
			args.list = true;
			break;
		default:
			usage("unknown option");
		}
	}
	if (optind != argc)
		usage("no arguments besides options");
}

static void share(void)
{
	int flags = MAP_SHARED;

	if (args.ticks < 0)
		flags |= MAP_ANONYMOUS;
	else if (ftruncate(args.ticks, sizeof(*gt_shared)))
		usage("--ticks is no file to share");
	gt_shared = mmap(NULL, sizeof(*gt_shared), PROT_READ | PROT_WRITE, flags, args.ticks, 0);
	if (gt_shared == MAP_FAILED)
		usage("--ticks is no file to share");
	if (args.ticks >= 0)
		fcntl(args.ticks, F_SETFD, FD_CLOEXEC);
}

static void list(void)
{
	const struct gt_check *check;
	const struct gt_role *role;

	gt_print("program %s", gt_program.name);
	gt_print("stresses %s", gt_program.stresses);
	for (role = gt_program.roles; role->name; role++)
		gt_print("role %s", role->name);
	gt_print("check setup");
	gt_print("check cycles_ran");
	gt_print("check workers_ended");
	gt_print("check windows_reached");
	for (check = gt_program.checks; check->name; check++)
		gt_print("check %s", check->name);
	gt_print("check all_removed");
}

int main(int argc, char **argv)
{
	const struct gt_check *check;
	double began = gt_now(), seconds = 0;
	unsigned int tests = 5, round, i;
	char missed[160];
	bool good;

	parse(argc, argv);
	if (args.list) {
		list();
		return EXIT_OK;
	}
	share();
	for (check = gt_program.checks; check->name; check++)
		tests++;

	gt_print("KTAP version 1");
	for (i = 0; i < args.needs_n; i++) {
		if (!access(args.needs[i], F_OK))
			continue;
		gt_print("1..0 # SKIP needs %s", args.needs[i]);
		return EXIT_SKIP;
	}
	gt_print("1..%u", tests);
	gt_note("program=%s seed=%llu budget=%.0f workers=%u", gt_program.name, (unsigned long long)args.seed,
		args.budget, args.workers);

	good = gt_program.setup();
	result("setup", good);
	if (!good) {
		skip("cycles_ran", "setup failed");
		skip("workers_ended", "setup failed");
		skip("windows_reached", "setup failed");
		for (check = gt_program.checks; check->name; check++)
			skip(check->name, "setup failed");
	} else {
		good = true;
		gt_ledger_print(0);
		for (round = 1; round <= GT_ROUNDS; round++) {
			double from = gt_now();

			gt_over_at = from + args.budget / GT_ROUNDS;
			atomic_store(&gt_shared->over, false);
			good = gt_run_workers(args.workers, args.seed, round) && good;
			atomic_store(&gt_shared->over, true);
			seconds += gt_now() - from;
			if (gt_program.settle)
				gt_program.settle();
			gt_ledger_print(round);
		}
		result("cycles_ran", atomic_load(&gt_shared->cycles) > 0);
		result("workers_ended", good);
		if (gt_windows_reached(missed, sizeof(missed)))
			result("windows_reached", true);
		else
			skip("windows_reached", missed);
		for (check = gt_program.checks; check->name; check++)
			result(check->name, check->holds());
		gt_note("cycles=%llu per_second=%.1f", (unsigned long long)atomic_load(&gt_shared->cycles),
			(double)atomic_load(&gt_shared->cycles) / seconds);
		for (i = 0; gt_program.figures && gt_program.figures[i]; i++)
			gt_note("%s=%llu", gt_program.figures[i], (unsigned long long)gt_figure(i));
		gt_windows_print();
		gt_note("at_rest_after=%.1f", gt_now() - began - seconds);
	}
	if (gt_program.teardown)
		gt_program.teardown();
	result("all_removed", remove_own_cgroup());
	return all_ok ? EXIT_OK : EXIT_NOT_OK;
}
