// SPDX-License-Identifier: MIT
/*
 * The agent: /init of the guest.  It sets the guest up, then does what the host asks for over ttyS1.
 * ttyS0 is printk's alone.
 *
 * The line protocol
 * =================
 * ttyS1, raw, no echo, 115200.  One line a message, ended by "\n".  The kernel's command line holds
 * kpv.nonce=<hex>; every line from the agent starts with "<nonce> ", so whatever else gets onto the
 * wire is known as noise.  Bytes outside 0x20..0x7e and '%' are written as %XX; a space too in
 * every field that is not the last.  The last field of out, read, leaks and error is the rest of
 * the line and may be empty.  No program can therefore forge a line.  <id> is the host's choice:
 * [A-Za-z0-9_.-]{1,32}.
 *
 * agent -> host
 *	ready <kernel release> cpus=<online> nodes=<online>
 *	started <id> pid=<n>
 *	out <id> <text>			a line of the program's stdout or stderr; one over 4096 bytes is cut in pieces
 *	tick <id> <cycles>		every second of guest time; `tick scan 0` while kmemleak scans
 *	done <id> exit=<n> signal=<n> ms=<n> why=<end|watchdog|stop>
 *					exit=-1 when killed, signal=0 when not; after the last `out`, and after all
 *					in the program's cgroup has been killed
 *	read <path> <errno> <content>	content is cut at 1 MiB
 *	wrote <path> <errno>
 *	loaded <path> <errno>
 *	leaks <count> <content>		of /sys/kernel/debug/kmemleak, content cut at 256 KiB; count -1: no kmemleak
 *	shell exit=<status>
 *	error <text>
 *	bye
 *
 * host -> agent (no nonce; fields split by one space; paths and data in the same escaped form)
 *	run <id> <program> <seed> <budget> <watchdog>	seconds of guest time
 *	stop <id>
 *	read <path>
 *	write <path> <data>		one write(2)
 *	load <path>			a kernel module
 *	scan				kmemleak; only while nothing runs
 *	shell				a shell on the console, if the image has a busybox
 *	poweroff
 *
 * Each run also leaves marks on the console, so that it can be cut by run without clocks:
 *	kpv: begin <id> <program> seed=<n>
 *	kpv: end <id> <program> exit=<n> signal=<n>
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define RUNS		8
#define ID_LENGTH	32
#define LINE_LENGTH	4096
#define READ_MOST	(1024 * 1024)
#define LEAKS_MOST	(256 * 1024)
#define SWAP_BYTES	(256L * 1024 * 1024)
#define PROGRAMS	"/etc/programs"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
/* mm/kmemleak.c, MSECS_MIN_AGE: younger objects are not reported. */
#define KMEMLEAK_AGE_MS	5000

struct run {
	char id[ID_LENGTH + 1];		/* empty: the slot is free */
	char program[ID_LENGTH + 1];
	char cgroup[64];
	pid_t pid;
	int pipe;			/* the program's output, -1 at its end */
	_Atomic uint64_t *cycles;	/* in memory shared with the program */
	int64_t began, ticked, kill_at;	/* ms */
	const char *why;
	bool ended;
	int status;
	char line[LINE_LENGTH];
	size_t length;
};

static struct run runs[RUNS];
static int serial = -1;
static int kmsg = -1;
static char nonce[65];
static pid_t scanner, shell;
static int64_t quiet_since, scan_ticked;	/* ms; when the last run or scan ended */

/* --- time, text ------------------------------------------------------------------ */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sleep_ms(int64_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static void send_all(const char *data, size_t size)
{
	while (size && serial >= 0) {
		ssize_t done = write(serial, data, size);

		if (done < 0 && errno != EINTR)
			return;
		if (done > 0) {
			data += done;
			size -= done;
		}
	}
}

/* A message is built here and leaves in one piece. */
static char *message;
static size_t message_length, message_room;

static void put(const char *text, size_t length)
{
	if (message_length + length > message_room) {
		message_room = (message_length + length) * 2;
		message = realloc(message, message_room);
		if (!message)
			abort();
	}
	memcpy(message + message_length, text, length);
	message_length += length;
}

static void put_escaped(const char *text, size_t length, bool last)
{
	size_t i;

	for (i = 0; i < length; i++) {
		unsigned char c = text[i];
		char hex[4];

		if (c >= 0x20 && c <= 0x7e && c != '%' && (last || c != ' ')) {
			put((const char *)&c, 1);
			continue;
		}
		snprintf(hex, sizeof(hex), "%%%02X", c);
		put(hex, 3);
	}
}

static void begin_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void begin_message(const char *format, ...)
{
	char text[256];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	message_length = 0;
	put(nonce, strlen(nonce));
	put(" ", 1);
	put(text, strlen(text));
}

static void end_message(void)
{
	put("\n", 1);
	send_all(message, message_length);
}

#define tell(...) do { begin_message(__VA_ARGS__); end_message(); } while (0)

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
	char text[512];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	begin_message("error ");
	put_escaped(text, strlen(text), true);
	end_message();
}

/* Decode %XX in place; false when it is malformed. */
static bool unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		char hex[3] = { 0 }, *end;

		if (*text != '%') {
			*to++ = *text;
			continue;
		}
		if (!text[1] || !text[2])
			return false;
		memcpy(hex, text + 1, 2);
		*to = (char)strtoul(hex, &end, 16);
		if (*end || !*to)
			return false;
		to++;
		text += 2;
	}
	*to = '\0';
	return true;
}

static void mark(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void mark(const char *format, ...)
{
	char text[256];
	va_list list;
	int n = snprintf(text, sizeof(text), "<5>kpv: ");

	va_start(list, format);
	n += vsnprintf(text + n, sizeof(text) - n, format, list);
	va_end(list);
	if (n > (int)sizeof(text) - 1)
		n = sizeof(text) - 1;
	/* Without its newline a record is held back until the next one (kernel/printk/printk.c, vprintk_store). */
	text[n++] = '\n';
	if (kmsg < 0 || write(kmsg, text, n) < 0)
		complain("no mark on the console: %s", strerror(errno));
}

/* --- files ---------------------------------------------------------------------------- */

static int put_file(const char *path, const char *text)
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

/* All of a file up to `most` bytes, to be freed; NULL and errno when it cannot be read. */
static char *get_file(const char *path, size_t most, size_t *length)
{
	size_t room = 4096;
	char *text;
	int error = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*length = 0;
	if (fd < 0)
		return NULL;
	text = malloc(room + 1);
	while (text && *length < most) {
		ssize_t got;

		if (*length == room) {
			room *= 2;
			text = realloc(text, room + 1);
			if (!text)
				break;
		}
		got = read(fd, text + *length, room - *length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			error = errno;
		if (got <= 0)
			break;
		*length += got;
	}
	close(fd);
	if (error || !text) {
		free(text);
		errno = error ? error : ENOMEM;
		return NULL;
	}
	if (*length > most)
		*length = most;
	text[*length] = '\0';
	return text;
}

static void set(const char *path, const char *text, bool must)
{
	int error = put_file(path, text);

	if (error && must)
		complain("%s: cannot write %s: %s", path, text, strerror(error));
}

/* How many a list such as 0-2,5 names. */
static int count_list(const char *path)
{
	size_t length;
	char *text = get_file(path, 4096, &length), *part, *rest = text;
	int n = 0;

	if (!text)
		return 1;
	while ((part = strsep(&rest, ","))) {
		int from, to, fields = sscanf(part, "%d-%d", &from, &to);

		n += fields == 2 ? to - from + 1 : fields == 1;
	}
	free(text);
	return n;
}

/* --- setting the guest up ------------------------------------------------------------------ */

static void mount_on(const char *type, const char *path, const char *data)
{
	mkdir(path, 0755);
	if (mount(type, path, type, 0, data) && errno != EBUSY)
		complain("%s cannot be mounted on %s: %s", type, path, strerror(errno));
}

static bool find_nonce(void)
{
	size_t length;
	char *cmdline = get_file("/proc/cmdline", 4096, &length);
	char *at = cmdline ? strstr(cmdline, "kpv.nonce=") : NULL;

	if (at && sscanf(at, "kpv.nonce=%64[0-9a-f]", nonce) == 1) {
		free(cmdline);
		return true;
	}
	free(cmdline);
	return false;
}

static bool open_serial(void)
{
	struct termios t;

	serial = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (serial < 0 || tcgetattr(serial, &t))
		return false;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	cfsetspeed(&t, B115200);
	return tcsetattr(serial, TCSANOW, &t) == 0;
}

/*
 * Swap on zram, with zswap before it.  What mkswap would write is one page: version 1 at 1024, the
 * number of the last page, and the signature at its end (include/linux/swap.h, union swap_header).
 */
static void swap_on_zram(void)
{
	static const char device[] = "/dev/zram0";
	char page[4096] = { 0 }, size[32];
	uint32_t version = 1, last = SWAP_BYTES / 4096 - 1;
	int fd;

	snprintf(size, sizeof(size), "%ld", SWAP_BYTES);
	if (put_file("/sys/block/zram0/disksize", size)) {
		complain("no swap: /sys/block/zram0/disksize cannot be set");
		return;
	}
	memcpy(page + 1024, &version, sizeof(version));
	memcpy(page + 1028, &last, sizeof(last));
	memcpy(page + 4086, "SWAPSPACE2", 10);
	fd = open(device, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, page, sizeof(page), 0) != sizeof(page) || fsync(fd) || close(fd) || swapon(device, 0))
		complain("no swap on %s: %s", device, strerror(errno));
	set("/sys/module/zswap/parameters/enabled", "Y", true);
}

/*
 * Memory control is left off in v2 when the kernel's command line says kpv.v1: programs that take it to v1 need a
 * guest in which nothing was ever charged in v2.  What was charged there and is freed in v1 is taken
 * off a counter that it was never put on (mm/memcontrol.c, drain_stock: memsw), and that is a WARNING.
 */
static bool for_v1(void)
{
	size_t length;
	char *cmdline = get_file("/proc/cmdline", 4096, &length);
	bool found = cmdline && strstr(cmdline, " kpv.v1");

	free(cmdline);
	return found;
}

static void set_up(void)
{
	if (access("/sys/kernel", F_OK))
		complain("sysfs cannot be mounted on /sys");
	mount_on("tmpfs", "/tmp", "mode=1777");
	mount_on("tmpfs", "/run", "mode=0755");
	mkdir("/mnt", 0755);
	mount_on("debugfs", "/sys/kernel/debug", NULL);
	/*
	 * favordynmods: moving a task into a cgroup does not wait for a grace period.  Programs
	 * fill a memcg by moving into it, so this is cycles per second.
	 */
	if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "favordynmods"))
		mount_on("cgroup2", "/sys/fs/cgroup", NULL);
	if (!for_v1())
		set("/sys/fs/cgroup/cgroup.subtree_control", "+memory", true);
	set("/sys/fs/cgroup/cgroup.subtree_control", "+pids", true);
	set("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset", true);

	/* All of what the kernel and we say reaches the console: marks are no use when they are rationed. */
	set("/proc/sys/kernel/printk", "7 4 1 7", true);
	/* With its newline: the length is checked (kernel/printk/printk.c, devkmsg_sysctl_set_loglvl). */
	set("/proc/sys/kernel/printk_devkmsg", "on\n", true);
	set("/proc/sys/kernel/printk_ratelimit", "0", true);
	set("/proc/sys/kernel/kptr_restrict", "0", false);
	set("/proc/sys/kernel/sysrq", "1", false);
	/* Not a word at each drop_caches: that is for people (fs/drop_caches.c). */
	set("/proc/sys/vm/drop_caches", "4", false);
	/*
	 * The host tells a hang from slowness and decides when a run is over: the guest reports
	 * every hung task and does not stop at the first.  An emulated CPU of a busy host stands
	 * still for seconds, so a soft lockup is 60 s (twice watchdog_thresh), not 20.
	 */
	set("/proc/sys/kernel/hung_task_warnings", "-1", false);
	set("/proc/sys/kernel/watchdog_thresh", "30", false);
	/* Nothing but our own scans. */
	set(KMEMLEAK, "scan=off", false);
	swap_on_zram();
}

/* --- runs ---------------------------------------------------------------------------------------- */

static struct run *find_run(const char *id)
{
	int i;

	for (i = 0; i < RUNS; i++)
		if (runs[i].id[0] && !strcmp(runs[i].id, id))
			return &runs[i];
	return NULL;
}

static bool any_run(void)
{
	int i;

	for (i = 0; i < RUNS; i++)
		if (runs[i].id[0])
			return true;
	return false;
}

static bool good_id(const char *id)
{
	size_t length = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

	return length && length <= ID_LENGTH && !id[length] && id[0] != '.';
}

/* Every process below, whatever group or session it made for itself. */
static void kill_cgroup(const struct run *run)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cgroup.kill", run->cgroup);
	if (put_file(path, "1") && run->pid > 0)
		kill(-run->pid, SIGKILL);
}

static int remove_cgroups(const char *path)
{
	struct dirent *entry;
	DIR *folder = opendir(path);

	if (!folder)
		return errno == ENOENT ? 0 : errno;
	while ((entry = readdir(folder))) {
		char below[512];

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) < (int)sizeof(below))
			remove_cgroups(below);
	}
	closedir(folder);
	return rmdir(path) ? errno : 0;
}

static void end_scan(int status);

/* As init we reap whatever is orphaned, too, but leave `own` to whoever waits for it. */
static void reap_others(pid_t own)
{
	siginfo_t info = { 0 };
	int status, i;
	pid_t pid;

	while (!waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) && (pid = info.si_pid) > 0) {
		if (pid == own || waitpid(pid, &status, WNOHANG) != pid)
			return;
		info.si_pid = 0;
		if (pid == scanner)
			end_scan(status);
		if (pid == shell) {
			shell = 0;
			tell("shell exit=%d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		}
		for (i = 0; i < RUNS; i++) {
			if (!runs[i].id[0] || runs[i].pid != pid)
				continue;
			runs[i].ended = true;
			runs[i].status = status;
		}
	}
}

static void say_line(struct run *run)
{
	begin_message("out %s ", run->id);
	put_escaped(run->line, run->length, true);
	end_message();
	run->length = 0;
}

static void read_output(struct run *run)
{
	char text[4096];
	ssize_t got = read(run->pipe, text, sizeof(text)), i;

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	for (i = 0; i < got; i++) {
		if (text[i] == '\n') {
			say_line(run);
			continue;
		}
		run->line[run->length++] = text[i];
		if (run->length == sizeof(run->line))
			say_line(run);
	}
	if (got > 0)
		return;
	if (run->length)
		say_line(run);
	close(run->pipe);
	run->pipe = -1;
}

/* The program's row in the table that was packed with it: "<name> <workers> <need>...". */
static bool find_program(const char *name, char *row, size_t size)
{
	FILE *table = fopen(PROGRAMS, "re");
	size_t length = strlen(name);
	bool found = false;

	while (table && !found && fgets(row, (int)size, table)) {
		row[strcspn(row, "\n")] = '\0';
		found = !strncmp(row, name, length) && row[length] == ' ';
	}
	if (table)
		fclose(table);
	return found;
}

static void __attribute__((noreturn)) become(const struct run *run, char *row, const char *seed,
					     const char *budget, int out, int ticks)
{
	char path[128], fd[16], *argv[64], *rest = row, *need;
	int n = 0;

	setpgid(0, 0);
	snprintf(path, sizeof(path), "%s/run/cgroup.procs", run->cgroup);
	if (put_file(path, "0"))
		dprintf(out, "the program cannot be moved into %s\n", path);
	snprintf(path, sizeof(path), "/bin/%s", run->program);
	snprintf(fd, sizeof(fd), "%d", ticks);
	argv[n++] = path;
	argv[n++] = (char *)"--seed";
	argv[n++] = (char *)seed;
	argv[n++] = (char *)"--budget";
	argv[n++] = (char *)budget;
	argv[n++] = (char *)"--ticks";
	argv[n++] = fd;
	argv[n++] = (char *)"--cgroup";
	argv[n++] = (char *)run->cgroup;
	strsep(&rest, " ");
	argv[n++] = (char *)"--workers";
	argv[n++] = strsep(&rest, " ");
	while ((need = strsep(&rest, " ")) && n < 61) {
		argv[n++] = (char *)"--need";
		argv[n++] = need;
	}
	argv[n] = NULL;
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	fcntl(ticks, F_SETFD, 0);
	execv(path, argv);
	dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

static void start_run(const char *id, const char *program, const char *seed, const char *budget,
		      const char *watchdog)
{
	char row[2048], path[128], *end;
	struct run *run = NULL;
	double seconds = strtod(watchdog, &end);
	int i, pipes[2], ticks;

	for (i = 0; i < RUNS && !run; i++)
		if (!runs[i].id[0])
			run = &runs[i];
	if (!good_id(id) || find_run(id) || !run || *end || !(seconds > 0)) {
		complain("run %s %s: %s", id, program,
			 !good_id(id) ? "bad id" : find_run(id) ? "the id is in use" : !run ? "too many runs" : "bad watchdog");
		return;
	}
	if (scanner > 0) {
		complain("run %s %s: kmemleak scans", id, program);
		return;
	}
	if (!good_id(program) || !find_program(program, row, sizeof(row))) {
		complain("run %s: no program %s in this guest", id, program);
		return;
	}

	memset(run, 0, sizeof(*run));
	snprintf(run->program, sizeof(run->program), "%s", program);
	snprintf(run->cgroup, sizeof(run->cgroup), "/sys/fs/cgroup/run-%s", id);
	snprintf(path, sizeof(path), "%s/run", run->cgroup);
	if (mkdir(run->cgroup, 0755) || mkdir(path, 0755)) {
		complain("run %s: cannot make %s: %s", id, path, strerror(errno));
		remove_cgroups(run->cgroup);
		return;
	}
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", run->cgroup);
	if (!for_v1())
		set(path, "+memory", true);

	ticks = memfd_create("ticks", MFD_CLOEXEC);
	if (ticks < 0 || ftruncate(ticks, 4096) || pipe2(pipes, O_CLOEXEC)) {
		complain("run %s: %s", id, strerror(errno));
		if (ticks >= 0)
			close(ticks);
		remove_cgroups(run->cgroup);
		return;
	}
	run->cycles = mmap(NULL, 4096, PROT_READ, MAP_SHARED, ticks, 0);
	if (run->cycles == MAP_FAILED)
		run->cycles = NULL;
	snprintf(run->id, sizeof(run->id), "%s", id);
	mark("begin %s %s seed=%s", id, program, seed);
	run->began = run->ticked = now_ms();
	run->kill_at = run->began + (int64_t)(seconds * 1000);
	run->why = "end";
	run->pipe = pipes[0];
	fcntl(run->pipe, F_SETFL, O_NONBLOCK);
	run->pid = fork();
	if (!run->pid)
		become(run, row, seed, budget, pipes[1], ticks);
	close(pipes[1]);
	close(ticks);
	if (run->pid < 0) {
		complain("run %s: fork: %s", id, strerror(errno));
		run->ended = true;
		run->status = 127 << 8;
	} else {
		setpgid(run->pid, run->pid);
		tell("started %s pid=%d", id, run->pid);
	}
}

/*
 * Remove the cgroups of a run: 0 or an errno.  A child does it, because in a sick kernel rmdir may
 * sleep for good, and then we still have to say how the run ended.
 */
static int put_away(const struct run *run)
{
	int64_t until = now_ms() + 10000;
	int status = 0;
	pid_t child = fork();

	if (child < 0)
		return errno;
	if (!child) {
		int error;

		/* A killed process needs a moment to leave its cgroup. */
		while ((error = remove_cgroups(run->cgroup)) == EBUSY) {
			kill_cgroup(run);
			sleep_ms(10);
		}
		_exit(error);
	}
	while (waitpid(child, &status, WNOHANG) == 0) {
		if (now_ms() > until) {
			kill(child, SIGKILL);
			return ETIMEDOUT;
		}
		reap_others(child);
		sleep_ms(5);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static void end_run(struct run *run)
{
	int exited = WIFEXITED(run->status) ? WEXITSTATUS(run->status) : -1;
	int signaled = WIFSIGNALED(run->status) ? WTERMSIG(run->status) : 0;
	int error = put_away(run);

	if (error)
		complain("%s stays: %s", run->cgroup, strerror(error));
	mark("end %s %s exit=%d signal=%d", run->id, run->program, exited, signaled);
	tell("done %s exit=%d signal=%d ms=%lld why=%s", run->id, exited, signaled,
	     (long long)(now_ms() - run->began), run->why);
	if (run->cycles)
		munmap((void *)run->cycles, 4096);
	run->id[0] = '\0';
	quiet_since = now_ms();
}

static void look_after(struct run *run)
{
	int64_t now = now_ms();

	if (run->ended && run->pipe >= 0) {
		/* The leader has gone: whoever it left behind must not hold the pipe open. */
		kill_cgroup(run);
		read_output(run);
	}
	if (run->ended && run->pipe < 0) {
		end_run(run);
		return;
	}
	if (now >= run->kill_at && !run->ended) {
		run->why = "watchdog";
		run->kill_at = INT64_MAX;
		kill_cgroup(run);
	}
	if (now - run->ticked >= 1000) {
		run->ticked = now;
		tell("tick %s %llu", run->id, run->cycles ? (unsigned long long)atomic_load(run->cycles) : 0ULL);
	}
}

/* --- kmemleak --------------------------------------------------------------------------------------- */

static void send_leaks(long count, const char *text, size_t length)
{
	begin_message("leaks %ld ", count);
	put_escaped(text, length, true);
	end_message();
}

/*
 * Two scans: the first only takes the checksum of what it finds unreferenced, the second reports
 * what is still unreferenced, unchanged and at least five seconds old (mm/kmemleak.c,
 * kmemleak_scan).
 */
static void start_scan(void)
{
	scan_ticked = now_ms();
	scanner = fork();
	if (!scanner) {
		int64_t age;
		int error = put_file(KMEMLEAK, "scan");

		age = now_ms() - quiet_since;
		if (!error && age < KMEMLEAK_AGE_MS)
			sleep_ms(KMEMLEAK_AGE_MS - age);
		if (!error)
			error = put_file(KMEMLEAK, "scan");
		_exit(error > 254 ? 255 : error);
	}
	if (scanner < 0)
		complain("scan: fork: %s", strerror(errno));
}

static void end_scan(int status)
{
	size_t length;
	char *text, *at;
	long count = 0;

	scanner = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		const char *why = WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "killed";

		/* EPERM: kmemleak turned itself off, as it does when its pool runs out. */
		send_leaks(-1, why, strlen(why));
		return;
	}
	text = get_file(KMEMLEAK, 16 * READ_MOST, &length);
	if (!text) {
		send_leaks(-1, strerror(errno), strlen(strerror(errno)));
		return;
	}
	for (at = text; (at = strstr(at, "unreferenced object")); at++)
		count++;
	send_leaks(count, text, length < LEAKS_MOST ? length : LEAKS_MOST);
	free(text);
	/* Not cleared: the host asks again for what a single scan got wrong, and clears it itself. */
	quiet_since = now_ms();
}

/* --- a shell, the end --------------------------------------------------------------------------------- */

static void start_shell(void)
{
	char *argv[] = { (char *)"sh", NULL };
	pid_t installer;
	int tty;

	if (access("/bin/busybox", X_OK)) {
		complain("shell: no /bin/busybox in this image");
		return;
	}
	if (shell > 0)
		return;
	installer = fork();
	if (!installer) {
		execl("/bin/busybox", "busybox", "--install", "-s", "/bin", (char *)NULL);
		_exit(127);
	}
	waitpid(installer, NULL, 0);
	shell = fork();
	if (shell)
		return;
	setsid();
	/* The tty itself and not /dev/console, which cannot be a controlling terminal: Ctrl-C works. */
	tty = open("/dev/ttyS0", O_RDWR);
	ioctl(tty, TIOCSCTTY, 1);
	dup2(tty, STDIN_FILENO);
	dup2(tty, STDOUT_FILENO);
	dup2(tty, STDERR_FILENO);
	setenv("PATH", "/bin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("PS1", "guest:\\w# ", 1);
	execv("/bin/busybox", argv);
	_exit(127);
}

static void __attribute__((noreturn)) power_off(void)
{
	int i;

	for (i = 0; i < RUNS; i++)
		if (runs[i].id[0])
			kill_cgroup(&runs[i]);
	tell("bye");
	tcdrain(serial);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* --- commands ------------------------------------------------------------------------------ */

static void send_file(char *path)
{
	size_t length;
	char *text = get_file(path, READ_MOST, &length);
	char number[16];
	int digits = snprintf(number, sizeof(number), " %d ", text ? 0 : errno);

	begin_message("read ");
	put_escaped(path, strlen(path), false);
	put(number, digits);
	if (text)
		put_escaped(text, length, true);
	end_message();
	free(text);
}

static void take_file(const char *path, const char *data)
{
	int error = put_file(path, data);
	char number[16];

	begin_message("wrote ");
	put_escaped(path, strlen(path), false);
	put(number, snprintf(number, sizeof(number), " %d", error));
	end_message();
}

static void load_module(const char *path)
{
	int error = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
	char number[16];

	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		error = errno;
	if (fd >= 0)
		close(fd);
	begin_message("loaded ");
	put_escaped(path, strlen(path), false);
	put(number, snprintf(number, sizeof(number), " %d", error));
	end_message();
}

static void obey(char *line)
{
	char *fields[7] = { NULL }, *rest = line;
	struct run *run;
	int n = 0;

	/* One field more than any command has, so that too many are seen as such. */
	while (rest && n < 7)
		fields[n++] = strsep(&rest, " ");
	if (!n || !fields[0][0])
		return;
	if (!strcmp(fields[0], "run") && n == 6) {
		start_run(fields[1], fields[2], fields[3], fields[4], fields[5]);
	} else if (!strcmp(fields[0], "stop") && n == 2) {
		run = find_run(fields[1]);
		if (!run) {
			complain("stop %s: no such run", fields[1]);
			return;
		}
		if (!run->ended)
			run->why = "stop";
		kill_cgroup(run);
	} else if (!strcmp(fields[0], "read") && n == 2 && unescape(fields[1])) {
		send_file(fields[1]);
	} else if (!strcmp(fields[0], "write") && n == 3 && unescape(fields[1]) && unescape(fields[2])) {
		take_file(fields[1], fields[2]);
	} else if (!strcmp(fields[0], "load") && n == 2 && unescape(fields[1])) {
		load_module(fields[1]);
	} else if (!strcmp(fields[0], "scan") && n == 1) {
		if (any_run() || scanner > 0)
			complain("scan: something runs");
		else
			start_scan();
	} else if (!strcmp(fields[0], "shell") && n == 1) {
		start_shell();
	} else if (!strcmp(fields[0], "poweroff") && n == 1) {
		power_off();
	} else {
		complain("unknown command %s with %d fields", fields[0], n);
	}
}

static void read_serial(void)
{
	static char line[LINE_LENGTH];
	static size_t length;
	static bool too_long;
	char text[512];
	ssize_t got = read(serial, text, sizeof(text)), i;

	for (i = 0; i < got; i++) {
		if (text[i] == '\n' || text[i] == '\r') {
			line[length] = '\0';
			if (too_long)
				complain("a command of more than %d bytes", LINE_LENGTH - 1);
			else if (length)
				obey(line);
			length = 0;
			too_long = false;
		} else if (length < sizeof(line) - 1) {
			line[length++] = text[i];
		} else {
			too_long = true;
		}
	}
}

static void __attribute__((noreturn)) serve(void)
{
	for (;;) {
		struct pollfd fds[RUNS + 1] = { { .fd = serial, .events = POLLIN } };
		bool ending = false;
		int i;

		for (i = 0; i < RUNS; i++) {
			fds[i + 1].fd = runs[i].id[0] ? runs[i].pipe : -1;
			fds[i + 1].events = POLLIN;
			ending = ending || (runs[i].id[0] && (runs[i].ended || runs[i].pipe < 0));
		}
		poll(fds, RUNS + 1, ending ? 10 : any_run() || scanner > 0 || shell > 0 ? 250 : 1000);
		if (fds[0].revents)
			read_serial();
		for (i = 0; i < RUNS; i++)
			if (fds[i + 1].revents && runs[i].id[0] && runs[i].pipe >= 0)
				read_output(&runs[i]);
		reap_others(0);
		for (i = 0; i < RUNS; i++)
			if (runs[i].id[0])
				look_after(&runs[i]);
		if (scanner > 0 && now_ms() - scan_ticked >= 1000) {
			scan_ticked = now_ms();
			tell("tick scan 0");
		}
	}
}

int main(void)
{
	struct utsname system;

	/* These come before there is anybody to complain to; what is missing shows by what is done with it. */
	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (!find_nonce() || !open_serial()) {
		mark("no %s: powering off", nonce[0] ? "/dev/ttyS1" : "kpv.nonce= on the command line");
		sync();
		reboot(RB_POWER_OFF);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	set_up();
	uname(&system);
	mark("ready");
	tell("ready %s cpus=%d nodes=%d", system.release, count_list("/sys/devices/system/cpu/online"),
	     count_list("/sys/devices/system/node/online"));
	quiet_since = now_ms();
	serve();
}
