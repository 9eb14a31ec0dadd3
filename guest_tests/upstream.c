// SPDX-License-Identifier: MIT
/*
 * The selftests of the tree under test, run one after another.
 *
 * The programs of one folder of tools/testing/selftests are built from the very tree that is running and
 * lie in /suite/<this program's name>, with a file `list`: a line each, "<test>" or "<test> <reason>" when the host could
 * not make it, or "! <reason>" when there is none at all.  This program starts each by itself and
 * hands on what it says as one test with subtests, in KTAP that can be nested: selftests of one folder print
 * a version line and a plan, or neither, and lines of children in between.
 *
 * Nothing of a test outlives it: it runs in a PID namespace whose init is ours and is killed with
 * it, in a session and a cgroup of its own, on a terminal of its own (so that what it has printed is out
 * before it forks).  Selftests make their cgroups below the root and turn controllers on there, and some write to
 * /proc/sys: what they leave is removed and put back before the next one.
 *
 * A bug is what a test says on the tested kernel and not on its base.  Some selftests fail on a sound kernel
 * too, for want of a disk or of speed; and some only now and then: when all have run, those that failed are tried
 * again while there is time, and a subtest that was ok in one of the attempts and not in another is an
 * expected failure, which speaks neither way.  So is a test that was ended by its time limit, with all that failed in
 * it: under emulation many wait in vain, and which of them get through depends on what else the host does.  A test that
 * cannot even be killed is a failure.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CGROUPS		"/sys/fs/cgroup"
#define TESTS_MOST	64
#define SUBTESTS_MOST	128
#define NAME_MOST	120
#define NOTES_MOST	8		/* lines that are handed on before a result, the last ones */
#define LINE_MOST	200
/* A test that fails is tried so often in all. */
#define ATTEMPTS	3
/* Part of the budget that one attempt may take. */
#define PART		4
/* Seconds that killed processes and their cgroups may take to go. */
#define GONE		20.0

enum { EXIT_OK, EXIT_NOT_OK, EXIT_USAGE, EXIT_SKIP = 4 };

/* How a subtest came out; the worse of two attempts is none of these but UNSTEADY. */
enum status { OK, NOT_OK, SKIP, EXPECTED, UNSTEADY };

struct subtest {
	char name[NAME_MOST];
	enum status status;
	char note[NAME_MOST];		/* behind the hash sign */
	char said[NOTES_MOST][LINE_MOST];
	unsigned int said_n, attempts, failed;
};

/* A test with what its attempts said. */
static struct test {
	char name[2 * NAME_MOST];
	char *reason;			/* why it is not run, or NULL */
	struct subtest subtests[SUBTESTS_MOST];
	unsigned int subtests_n, attempts;
	char skipped[NAME_MOST];	/* reason of a plan of nothing */
	double seconds;
	bool late;
} tests[TESTS_MOST];

static unsigned int tests_n;

/* The one that runs now, and what it has said since its last result. */
static struct test *test;
static char notes[NOTES_MOST][LINE_MOST], line_now[LINE_MOST];
static unsigned int notes_n;
static size_t length_now;

/* Files that a test may write to: their content is put back after each. */
static struct kept {
	const char *path;
	char text[256];
	bool known;
} kept[] = {
	{ .path = "/proc/sys/vm/nr_hugepages" },
	{ .path = "/proc/sys/vm/min_free_kbytes" },
	{ .path = "/proc/sys/vm/swappiness" },
	{ .path = "/proc/sys/vm/overcommit_memory" },
	{ .path = "/sys/module/zswap/parameters/enabled" },
	{ .path = "/sys/module/zswap/parameters/max_pool_percent" },
	{ .path = "/sys/kernel/mm/transparent_hugepage/enabled" },
};

static struct {
	const char *name;		/* this program's, and its folder's below /suite */
	double budget;
	const char *cgroup;
	int ticks;
	const char *needs[16];
	unsigned int needs_n;
	bool list;
	const char *read;		/* name of the test whose output comes on stdin */
} args = { .budget = 120, .cgroup = CGROUPS, .ticks = -1 };

static _Atomic uint64_t *cycles;	/* results seen: the agent's sign of progress */
static double over_at;
static char found[64][NAME_MOST];	/* cgroups that stood at the root before */
static unsigned int found_n;
static char controllers[256];		/* that were on at the root */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(void)
{
	struct timespec t = { .tv_nsec = 20000000 };

	nanosleep(&t, NULL);
}

/* --- files -------------------------------------------------------------------------- */

static bool get(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got >= 0;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		error = errno;
	close(fd);
	return error;
}

/* --- what is put back ------------------------------------------------------------------ */

static bool each_cgroup(bool (*visit)(const char *name))
{
	DIR *folder = opendir(CGROUPS);
	struct dirent *entry;
	bool good = true;

	while (folder && (entry = readdir(folder)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			good = visit(entry->d_name) && good;
	if (folder)
		closedir(folder);
	return good;
}

static bool note_cgroup(const char *name)
{
	if (found_n < sizeof(found) / sizeof(found[0]))
		snprintf(found[found_n++], NAME_MOST, "%s", name);
	return true;
}

static void remember(void)
{
	unsigned int i;

	each_cgroup(note_cgroup);
	get(CGROUPS "/cgroup.subtree_control", controllers, sizeof(controllers));
	for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		char *open_bracket, *close_bracket;

		kept[i].known = get(kept[i].path, kept[i].text, sizeof(kept[i].text));
		/* "always [madvise] never": the word in brackets is what is set. */
		open_bracket = strchr(kept[i].text, '[');
		close_bracket = open_bracket ? strchr(open_bracket, ']') : NULL;
		if (close_bracket) {
			*close_bracket = '\0';
			memmove(kept[i].text, open_bracket + 1, strlen(open_bracket + 1) + 1);
		}
	}
}

static int remove_tree(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;

	if (!folder)
		return errno == ENOENT ? 0 : errno;
	while ((entry = readdir(folder))) {
		char below[1024];

		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
		    snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) < (int)sizeof(below))
			remove_tree(below);
	}
	closedir(folder);
	return rmdir(path) && errno != ENOENT ? errno : 0;
}

static bool remove_cgroup(const char *path)
{
	double until = now() + GONE;
	char control[512];
	int error;

	while ((error = remove_tree(path)) != 0) {
		/* A frozen process is killed, but does not leave before it is thawed (kernels before 5.14). */
		snprintf(control, sizeof(control), "%s/cgroup.freeze", path);
		put(control, "0");
		snprintf(control, sizeof(control), "%s/cgroup.kill", path);
		put(control, "1");
		if (now() > until) {
			printf("# %s stays: %s\n", path, strerror(error));
			return false;
		}
		nap();
	}
	return true;
}

static bool remove_if_new(const char *name)
{
	char path[512];
	unsigned int i;

	for (i = 0; i < found_n; i++)
		if (!strcmp(found[i], name))
			return true;
	snprintf(path, sizeof(path), CGROUPS "/%s", name);
	return remove_cgroup(path);
}

static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);
	const char *at = text;

	for (; (at = strstr(at, word)); at += length)
		if ((at == text || at[-1] == ' ') && strchr(" \n", at[length]))
			return true;
	return false;
}

/* Whether all is as it was before the test. */
static bool put_back(void)
{
	bool good = each_cgroup(remove_if_new);
	char on[256], change[80], *word, *rest = on;
	unsigned int i;

	get(CGROUPS "/cgroup.subtree_control", on, sizeof(on));
	while ((word = strsep(&rest, " \n"))) {
		if (!*word || has_word(controllers, word))
			continue;
		snprintf(change, sizeof(change), "-%s", word);
		if (put(CGROUPS "/cgroup.subtree_control", change))
			good = false;
	}
	for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		char text[256];

		if (!kept[i].known || !get(kept[i].path, text, sizeof(text)) || !strcmp(text, kept[i].text))
			continue;
		put(kept[i].path, kept[i].text);
	}
	return good;
}

/* --- what a test says --------------------------------------------------------------------- */

static struct subtest *subtest_of(const char *name)
{
	struct subtest *s;
	unsigned int i;

	for (i = 0; i < test->subtests_n; i++)
		if (!strcmp(test->subtests[i].name, name))
			return &test->subtests[i];
	if (test->subtests_n == SUBTESTS_MOST)
		return NULL;
	s = &test->subtests[test->subtests_n++];
	snprintf(s->name, sizeof(s->name), "%s", name);
	return s;
}

static void record(const char *name, enum status status, const char *note)
{
	struct subtest *s = subtest_of(name);

	atomic_fetch_add(cycles, 1);
	if (!s) {
		notes_n = 0;
		return;
	}
	s->failed += status == NOT_OK;
	s->attempts++;
	/* What went wrong is kept, whatever the next attempt says. */
	if (status == NOT_OK || s->attempts == 1) {
		snprintf(s->note, sizeof(s->note), "%s", note);
		memcpy(s->said, notes, sizeof(s->said));
		s->said_n = notes_n;
	}
	if (s->attempts == 1)
		s->status = status;
	else if (s->failed && s->failed < s->attempts)
		s->status = UNSTEADY;
	notes_n = 0;
}

static void note(const char *text)
{
	if (notes_n == NOTES_MOST) {
		memmove(notes[0], notes[1], sizeof(notes[0]) * (NOTES_MOST - 1));
		notes_n--;
	}
	snprintf(notes[notes_n++], LINE_MOST, "%s", text);
}

/* Cut white space off both ends, in place. */
static char *trimmed(char *text)
{
	size_t length;

	text += strspn(text, " \t\r");
	length = strlen(text);
	while (length && strchr(" \t\r", text[length - 1]))
		text[--length] = '\0';
	return text;
}

/*
 * A result line of kselftest.h: "[not ]ok <number> [name] [# DIRECTIVE] [text]".  With a directive the name often
 * stands behind it (ksft_test_result_skip).
 */
static bool take_result(char *line)
{
	static const struct { const char *word; enum status status; } words[] = {
		{ "SKIP", SKIP }, { "XFAIL", EXPECTED }, { "TODO", EXPECTED }, { "XPASS", OK }, { "error", NOT_OK },
	};
	bool bad = !strncmp(line, "not ok ", 7);
	enum status status = bad ? NOT_OK : OK;
	char *rest = line + (bad ? 7 : 3), *end, *hash, *name, *text = (char *)"";
	unsigned int i;

	if (!bad && strncmp(line, "ok ", 3))
		return false;
	strtoul(rest, &end, 10);
	if (end == rest || !strchr(" \r", *end))
		return false;
	hash = strchr(end, '#');
	if (hash) {
		*hash = '\0';
		text = trimmed(hash + 1);
		for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			size_t length = strlen(words[i].word);

			if (strncasecmp(text, words[i].word, length) || (text[length] && text[length] != ' '))
				continue;
			status = words[i].status;
			text = trimmed(text + length);
			break;
		}
	}
	name = trimmed(end);
	if (!strncmp(name, "- ", 2))
		name = trimmed(name + 2);
	if (!*name) {
		name = text;
		text = (char *)"";
	}
	record(*name ? name : "unnamed", status, text);
	return true;
}

static void take_line(char *line)
{
	unsigned int count;
	char *at;

	for (at = line; *at; at++)
		if ((unsigned char)*at < ' ' || (unsigned char)*at > '~')
			*at = ' ';
	line = trimmed(line);
	if (!*line || !strncmp(line, "TAP version ", 12) || !strncmp(line, "KTAP version ", 13) || take_result(line))
		return;
	if (sscanf(line, "1..%u", &count) == 1) {
		at = count ? NULL : strchr(line, '#');
		if (!at)
			return;
		at = trimmed(at + 1);
		at = trimmed(at + (strncasecmp(at, "SKIP", 4) ? 0 : 4));
		snprintf(test->skipped, sizeof(test->skipped), "%s", at);
		return;
	}
	note(line + strspn(line, "# "));
}

static void take(const char *text, size_t size)
{
	for (; size; text++, size--) {
		if (*text != '\n' && length_now < sizeof(line_now) - 1) {
			line_now[length_now++] = *text;
		} else if (*text == '\n') {
			line_now[length_now] = '\0';
			length_now = 0;
			take_line(line_now);
		}
	}
}

/* --- one attempt -------------------------------------------------------------------------- */

/* PID 1 of the test's namespace: it starts the test, takes what is orphaned, and ends as the test ends. */
static void __attribute__((noreturn)) be_init(const char *path, const char *name, const char *cgroup, int terminal)
{
	char *argv[] = { (char *)name, NULL };
	char procs[600];
	int status;
	pid_t child, ended;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A process of its own is what the test sees of the others. */
	if (mount("proc", "/proc", "proc", 0, NULL))
		_exit(126);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	if (put(procs, "0"))
		_exit(126);
	child = fork();
	if (!child) {
		setsid();
		dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
		dup2(terminal, STDOUT_FILENO);
		dup2(terminal, STDERR_FILENO);
		close_range(3, ~0U, 0);
		if (chdir("/tmp"))
			_exit(126);
		execv(path, argv);
		dprintf(STDERR_FILENO, "# %s: %s\n", path, strerror(errno));
		_exit(127);
	}
	do {
		ended = waitpid(-1, &status, 0);
	} while (ended != child && (ended > 0 || errno == EINTR));
	/* As init of a namespace we cannot die of a signal of our own: it is told as a shell does. */
	_exit(ended != child ? 126 : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static int open_terminal(int *other)
{
	int terminal = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), zero = 0;
	struct termios t;

	if (terminal < 0)
		return -1;
	*other = ioctl(terminal, TIOCSPTLCK, &zero) ? -1 : ioctl(terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (*other < 0 || tcgetattr(*other, &t)) {
		close(terminal);
		return -1;
	}
	cfmakeraw(&t);
	tcsetattr(*other, TCSANOW, &t);
	fcntl(*other, F_SETFD, FD_CLOEXEC);
	return terminal;
}

/*
 * Run it once, to its end or its time limit.  Returns its exit status (128 and more: a signal), -1 for the
 * time limit, -2 when it could not be started, -3 when it cannot be killed.
 */
static int attempt(const char *path, const char *name, double seconds)
{
	double until = now() + seconds;
	int terminal, other, status = 0;
	char cgroup[512];
	bool late = false;
	pid_t child;

	terminal = open_terminal(&other);
	if (terminal < 0)
		return -2;
	snprintf(cgroup, sizeof(cgroup), "%s/%s", args.cgroup, name);
	if (mkdir(cgroup, 0755) && errno != EEXIST) {
		close(terminal);
		close(other);
		return -2;
	}
	/* A namespace of mounts too, for its /proc. */
	child = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL, NULL);
	if (!child)
		be_init(path, name, cgroup, other);
	close(other);
	if (child < 0) {
		close(terminal);
		rmdir(cgroup);
		return -2;
	}
	for (;;) {
		struct pollfd fd = { .fd = terminal, .events = POLLIN };
		char text[4096];
		pid_t ended = waitpid(child, &status, WNOHANG);
		ssize_t got = poll(&fd, 1, ended ? 0 : 100) > 0 ? read(terminal, text, sizeof(text)) : 0;

		if (got > 0) {
			take(text, got);
			continue;
		}
		if (ended == child || (ended < 0 && errno == ECHILD))
			break;
		if (got < 0)	/* nobody has the other end open */
			nap();
		if (now() < until)
			continue;
		if (late)
			break;
		/* Init goes, and with it all that it has below it. */
		kill(child, SIGKILL);
		late = true;
		until = now() + GONE;
	}
	if (late && now() >= until)
		status = -3;
	else if (late)
		status = -1;
	else
		status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	take("\n", 1);
	close(terminal);
	if (!remove_cgroup(cgroup))
		status = -3;
	return status;
}

/* --- a test, with its attempts ------------------------------------------------------------- */

static bool any(const struct test *one, enum status status)
{
	unsigned int i;

	for (i = 0; i < one->subtests_n; i++)
		if (one->subtests[i].status == status)
			return true;
	return false;
}

/* Run a test once; false when the guest is no place to run another. */
static bool run(struct test *one)
{
	char path[3 * NAME_MOST], how[64];
	double began = now();
	int status;

	test = one;
	notes_n = 0;
	snprintf(path, sizeof(path), "/suite/%.*s/%.*s", NAME_MOST, args.name, NAME_MOST, one->name);
	status = attempt(path, one->name, args.budget / PART);
	one->seconds += now() - began;
	one->attempts++;
	if (status != EXIT_SKIP || one->subtests_n) {
		/* Whether it came to its end by itself: its exit status says less when a subtest failed. */
		if (status < 0)
			snprintf(how, sizeof(how), "%s", status == -1 ? "TIMEOUT" :
				 status == -2 ? "it could not be started" : "it cannot be killed");
		else
			snprintf(how, sizeof(how), "%s %d", status > 128 ? "signal" : "exit status",
				 status > 128 ? status - 128 : status);
		record("came_to_its_end", status < 0 || status > EXIT_SKIP ? NOT_OK : OK, how);
	} else if (!one->skipped[0]) {
		snprintf(one->skipped, sizeof(one->skipped), "%.*s", NAME_MOST - 1,
			 notes_n ? notes[notes_n - 1] : "it does not say why");
	}
	one->late = status == -1;
	printf("# %s: %.0f s in %u attempts\n", one->name, one->seconds, one->attempts);
	return put_back() && status != -3;
}

static void print_subtest(unsigned int number, const struct subtest *s, bool late)
{
	enum status status = late && s->status == NOT_OK ? EXPECTED : s->status;
	bool good = status == OK || status == SKIP;
	char behind[NAME_MOST + 64] = "";
	unsigned int i;

	for (i = 0; i < s->said_n; i++)
		printf("    # %s\n", s->said[i]);
	if (status == UNSTEADY)
		snprintf(behind, sizeof(behind), " # XFAIL failed in %u of %u attempts", s->failed, s->attempts);
	else if (status == SKIP || status == EXPECTED)
		snprintf(behind, sizeof(behind), " # %s %s", status == SKIP ? "SKIP" : "XFAIL", s->note);
	else if (status == NOT_OK && s->note[0])
		snprintf(behind, sizeof(behind), " # %s", s->note);
	printf("    %sok %u %s%s\n", good ? "" : "not ", number, s->name, behind);
}

static void print_test(unsigned int number, const struct test *one)
{
	unsigned int i;

	if (!one->subtests_n) {
		printf("ok %u %s # SKIP %s\n", number, one->name, one->reason ? one->reason : one->skipped);
		return;
	}
	printf("    KTAP version 1\n    1..%u\n", one->subtests_n);
	for (i = 0; i < one->subtests_n; i++)
		print_subtest(i + 1, &one->subtests[i], one->late);
	printf("%sok %u %s%s\n", any(one, NOT_OK) ? "not " : "", number, one->name, one->late ? " # XFAIL TIMEOUT" : "");
}

/* --- main ------------------------------------------------------------------------------------ */

static void __attribute__((noreturn)) usage(const char *what)
{
	fprintf(stderr,
		"%s: %s\n"
		"usage: %s [--seed N] [--budget SECONDS] [--workers N] [--cgroup FOLDER] [--need PATH]... [--list]\n"
		"       %s --read TEST\n",
		args.name, what, args.name, args.name);
	exit(EXIT_USAGE);
}

static long number(const char *text, long least, long most)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < least || value > most)
		usage("bad number");
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },	/* selftests have none */
		{ "budget", required_argument, NULL, 'b' },
		{ "workers", required_argument, NULL, 'w' },	/* one at a time */
		{ "cgroup", required_argument, NULL, 'c' },
		{ "need", required_argument, NULL, 'n' },
		{ "ticks", required_argument, NULL, 't' },
		{ "list", no_argument, NULL, 'l' },
		{ "read", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	const char *slash = strrchr(argv[0], '/');
	int c;

	args.name = slash ? slash + 1 : argv[0];
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			break;
		case 'b':
			args.budget = (double)number(optarg, 1, 86400);
			break;
		case 'w':
			number(optarg, 1, 64);
			break;
		case 'c':
			args.cgroup = optarg;
			break;
		case 'n':
			if (args.needs_n == sizeof(args.needs) / sizeof(args.needs[0]))
				usage("too many --need");
			args.needs[args.needs_n++] = optarg;
			break;
		case 't':
			args.ticks = (int)number(optarg, 3, 1023);
			break;
		case 'l':
			args.list = true;
			break;
		case 'r':
			args.read = optarg;
			break;
		default:
			usage("unknown option");
		}
	}
	if (optind != argc)
		usage("no arguments besides options");
}

/* Hand on what one test has said, on stdin, and run nothing: two attempts are parted by a form feed. */
static int read_one(const char *name)
{
	char text[4096], *part, *rest;
	ssize_t got;

	test = &tests[0];
	snprintf(test->name, sizeof(test->name), "%s", name);
	printf("KTAP version 1\n1..1\n");
	while ((got = read(STDIN_FILENO, text, sizeof(text) - 1)) > 0) {
		text[got] = '\0';
		for (rest = text; (part = strsep(&rest, "\f"));) {
			take(part, strlen(part));
			notes_n = rest ? 0 : notes_n;
		}
	}
	take("\n", 1);
	print_test(1, test);
	return any(test, NOT_OK) ? EXIT_NOT_OK : EXIT_OK;
}

static void __attribute__((noreturn)) skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	exit(EXIT_SKIP);
}

static void read_list(void)
{
	char path[256], why[300];
	FILE *file;

	snprintf(path, sizeof(path), "/suite/%s/list", args.name);
	file = fopen(path, "re");
	if (!file) {
		snprintf(why, sizeof(why), "needs %s", path);
		skip_all(why);
	}
	while (tests_n < TESTS_MOST && fgets(tests[tests_n].name, sizeof(tests[0].name), file)) {
		struct test *one = &tests[tests_n];

		one->name[strcspn(one->name, "\n")] = '\0';
		if (one->name[0] == '!')
			skip_all(trimmed(one->name + 1));
		one->reason = strchr(one->name, ' ');
		if (one->reason)
			*one->reason++ = '\0';
		tests_n += one->name[0] != '\0';
	}
	fclose(file);
	if (!tests_n)
		skip_all("the tree has no test for it");
}

int main(int argc, char **argv)
{
	static _Atomic uint64_t own;
	bool good = true, all_ok = true;
	unsigned int turn, i;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	cycles = args.ticks < 0 ? &own : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, args.ticks, 0);
	if (cycles == MAP_FAILED)
		usage("--ticks is no file to share");
	if (args.ticks >= 0)
		fcntl(args.ticks, F_SETFD, FD_CLOEXEC);
	if (args.read)
		return read_one(args.read);
	if (!args.list)
		printf("KTAP version 1\n");
	for (i = 0; !args.list && i < args.needs_n; i++) {
		char why[300];

		if (!access(args.needs[i], F_OK))
			continue;
		snprintf(why, sizeof(why), "needs %s", args.needs[i]);
		skip_all(why);
	}
	read_list();
	if (args.list) {
		printf("program %s\nstresses the selftests of the tree under test\n", args.name);
		for (i = 0; i < tests_n; i++)
			printf("check %s\n", tests[i].name);
		return EXIT_OK;
	}
	printf("1..%u\n# program=%s budget=%.0f\n", tests_n + 1, args.name, args.budget);

	/* Mounts of ours and of the tests are nobody else's. */
	mkdir("/dev/pts", 0755);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0600,mode=0600")) {
		printf("Bail out! no terminal for a test: %s\n", strerror(errno));
		return EXIT_NOT_OK;
	}
	remember();
	over_at = now() + args.budget;
	for (turn = 0; turn < ATTEMPTS; turn++) {
		for (i = 0; i < tests_n; i++) {
			/* A time limit once is enough: what hangs would take all the time there is. */
			if (tests[i].reason || (turn && (tests[i].late || !any(&tests[i], NOT_OK))))
				continue;
			if (good && now() < over_at)
				good = run(&tests[i]);
			else if (!turn)
				tests[i].reason = (char *)(good ? "the budget is used up" :
							   "a test before it could not be put away");
		}
	}
	for (i = 0; i < tests_n; i++) {
		print_test(i + 1, &tests[i]);
		all_ok = all_ok && (tests[i].late || !any(&tests[i], NOT_OK));
	}
	printf("%sok %u all_removed\n", good ? "" : "not ", tests_n + 1);
	printf("# cycles=%llu\n", (unsigned long long)atomic_load(cycles));
	return all_ok && good ? EXIT_OK : EXIT_NOT_OK;
}
