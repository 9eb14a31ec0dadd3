// SPDX-License-Identifier: MIT
/*
 * Slab objects that outlive their memcg.
 *
 * Path: __memcg_slab_free_hook() (mm/memcontrol.c) for an object whose memcg has been removed: its charge
 * goes to the per-CPU stock of the objcg (refill_obj_stock, drain_obj_stock), its reference on the objcg
 * is put, and the last one releases the objcg (obj_cgroup_release).  That happens while the memcg goes
 * offline (memcg_reparent_objcgs moves its objcgs to the parent), long after it, or before, on the CPU
 * that made the object or on another one, for an object that is freed at once or by RCU; and meanwhile
 * slabs are shrunk (/sys/kernel/slab/<cache>/shrink), and shrinking is what gives the page of an object
 * back whose memcg is no more.  Pages of pipes and stacks of tasks are charged through the objcg, too
 * (__memcg_kmem_uncharge_page).
 *
 *	<own cgroup>
 *	  h<n>			home of a maker
 *	  t<n>/<leaf>		cgroups whose memcgs come and go with cgroup.subtree_control
 *
 * Makers enter one memcg after the other and make objects of many kinds there.  Of some memcgs all objects
 * are freed while they go offline, by the maker's helper on another CPU, which shares the maker's open
 * files: at moments drawn from the time that the last batch took for that, or in the memcg's own turn, which
 * shows from a page of the one before it (/proc/kpagecgroup).  Of the others they are freed in any order
 * batches later.  A maker knows when its memcgs are offline: the controller can be turned on again.
 * A cycle is a memcg that was made, used and taken away.
 *
 * A bug: any splat; a memcg still dying when all objects have been freed; slab memory or charges that do
 * not come back; percpu memory that grows with the memcgs (each has some, and so has its css: one that is
 * never released shows there even when no charge is left on it); an object that cannot be freed.  An
 * objcg that is never released has nothing left that user space could see: the host finds it in the guest's
 * memory, with its references.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/gt.h"

#define MANY		12		/* memcgs of a batch */
#define OBJECTS_MOST	6		/* objects of a memcg */
#define PAGE		4096L
#define POOL		96		/* objects that wait for later batches */
#define POOL_KEEP	16		/* so many of them stay */
#define LIST		(MANY * OBJECTS_MOST + POOL)
#define TASKS		24		/* most that a maker has at a time */
#define STACK		8192
#define CACHES		64
#define KEYRING		(-4)		/* KEY_SPEC_USER_KEYRING, include/uapi/linux/keyctl.h */
#define KEY_UNLINK	9		/* KEYCTL_UNLINK */

/* Each kind has its figure, in the order of the table below. */
enum kind {
	FILES, PIPES, EPOLLS, TIMERS, WATCHES, MESSAGES, IPC, INODES, TASKS_KEPT, NAMESPACES, LOCKS, SOCKETS, KEYS,
	KINDS,
	SHRINKS = KINDS, DROPS, MEMCGS,
};

static const char *const figures[] = {
	"files", "pipes", "epolls", "timers", "watches", "messages", "ipc", "inodes", "tasks", "namespaces", "locks",
	"sockets", "keys", "shrinks", "drops", "memcgs", NULL,
};

enum { LAST_FREE, FREE_SHRINK };
enum { FREEING, OTHER };

static const struct gt_window windows[] = {
	[LAST_FREE] = { "last_free_offline", { "last_free", "offline" } },
	[FREE_SHRINK] = { "free_shrink", { "free", "shrink" } },
	{ NULL, { NULL, NULL } },
};

/* One kind of object, with what is needed to free it: open files, an id, a number. */
struct object {
	enum kind kind;
	int a, b;
	double at;		/* seconds into the batch, or after the turn of its memcg has come */
	bool watched;		/* the latter */
	unsigned int memcg;	/* of this batch, or MANY for one of a batch before */
	bool last;		/* of its memcg, in this list */
};

/* What a maker hands to its helper. */
struct list {
	_Atomic unsigned int told, done;
	_Atomic bool lost;	/* an object that could not be freed */
	_Atomic bool offline;	/* all memcgs of this batch are */
	unsigned int n, timed, young;	/* the first are timed, the next watched, the rest of batches before */
	struct {
		off_t at;	/* of the page that a memcg is watched by, in kpagecgroup */
		uint64_t inode;	/* what stands there until it is offline */
	} pages[MANY];
	struct object objects[LIST];
};

struct maker {
	unsigned int index;
	int many, home_namespace, queue, lock;
	char home[16];
	unsigned int kinds;		/* that have had their turn */
	unsigned int serial;		/* of files, messages and keys */
	double offline;			/* seconds that the last batch took to go offline */
	struct list *list;
	char *pages;			/* one for each memcg */
	int pagemap, kpagecgroup;
	struct object pool[POOL];
	unsigned int pool_n;
	struct {
		pid_t pid;
		char *stack;
	} tasks[TASKS];
};

static char folder[64];
static char caches[CACHES][64];
static unsigned int caches_n;

/* Shared by all: kinds that this kernel does not have, found at the first try. */
static _Atomic bool *absent;

/* --- kinds ----------------------------------------------------------------------------------- */

static bool opened(struct object *o, int fd)
{
	o->a = fd;
	o->b = -1;
	return fd >= 0;
}

static bool make_file(struct gt_worker *w, struct object *o)
{
	(void)w;
	return opened(o, open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static bool make_pipe(struct gt_worker *w, struct object *o)
{
	char text[512] = { 0 };
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return false;
	o->a = ends[0];
	o->b = ends[1];
	/* Its page is charged as a page, not as an object. */
	if (gt_random_one_in(&w->random, 2) && write(ends[1], text, sizeof(text)) < 0)
		gt_note("pipe: %s", strerror(errno));
	return true;
}

static bool make_epoll(struct gt_worker *w, struct object *o)
{
	struct epoll_event event = { .events = EPOLLIN };

	(void)w;
	if (!opened(o, epoll_create1(EPOLL_CLOEXEC)))
		return false;
	o->b = eventfd(0, EFD_CLOEXEC);
	return o->b >= 0 && !epoll_ctl(o->a, EPOLL_CTL_ADD, o->b, &event);
}

static bool make_timer(struct gt_worker *w, struct object *o)
{
	struct itimerspec when = { .it_value.tv_sec = 3600 };

	(void)w;
	return opened(o, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) && !timerfd_settime(o->a, 0, &when, NULL);
}

static bool make_watch(struct gt_worker *w, struct object *o)
{
	(void)w;
	return opened(o, inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) && inotify_add_watch(o->a, folder, IN_CREATE) >= 0;
}

static bool make_message(struct gt_worker *w, struct object *o)
{
	struct maker *m = w->own;
	struct {
		long type;
		char text[200];
	} message = { .type = ++m->serial };

	o->a = m->queue;
	o->b = (int)m->serial;
	return !msgsnd(m->queue, &message, 1 + gt_random_below(&w->random, sizeof(message.text)), IPC_NOWAIT);
}

static bool make_ipc(struct gt_worker *w, struct object *o)
{
	if (gt_random_one_in(&w->random, 2)) {
		o->a = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
		o->b = -1;
		return o->a >= 0;
	}
	o->a = -1;
	o->b = semget(IPC_PRIVATE, 1 + (int)gt_random_below(&w->random, 32), IPC_CREAT | 0600);
	return o->b >= 0;
}

static void inode_path(char *path, size_t size, const struct object *o)
{
	snprintf(path, size, "%s/%d.%d", folder, o->a, o->b);
}

static bool make_inode(struct gt_worker *w, struct object *o)
{
	struct maker *m = w->own;
	char path[96];
	int fd;

	o->a = (int)m->index;
	o->b = (int)++m->serial;
	inode_path(path, sizeof(path), o);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int wait_for_ever(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		syscall(SYS_pause);
	return 0;
}

/*
 * It shares the maker's memory: with a copy of it, the maker's next writes would leave pages of its own in
 * this memcg.  What stays are task, signals, credentials, the tables of open files, a kernel stack.
 */
static bool make_task(struct gt_worker *w, struct object *o)
{
	struct maker *m = w->own;
	char path[32];
	int i;

	for (i = 0; i < TASKS && m->tasks[i].pid > 0 && !kill(m->tasks[i].pid, 0); i++)
		;
	o->b = -1;
	if (i == TASKS)
		return false;
	o->a = clone(wait_for_ever, m->tasks[i].stack + STACK, CLONE_VM | SIGCHLD, NULL);
	if (o->a < 0)
		return false;
	m->tasks[i].pid = o->a;
	snprintf(path, sizeof(path), "%s/cgroup.procs", m->home);
	if (gt_write(gt_cgroup(), path, "%d", o->a))
		gt_die("a task cannot be moved home");
	return true;
}

static bool make_namespace(struct gt_worker *w, struct object *o)
{
	struct maker *m = w->own;
	bool good;

	if (unshare(CLONE_NEWUTS))
		return false;
	good = opened(o, open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
	if (setns(m->home_namespace, CLONE_NEWUTS))
		gt_die("no way back to the namespace: %s", strerror(errno));
	return good;
}

static bool make_lock(struct gt_worker *w, struct object *o)
{
	struct maker *m = w->own;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = ++m->serial, .l_len = 1 };
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->lock);
	return opened(o, open(path, O_RDWR | O_CLOEXEC)) && !fcntl(o->a, F_OFD_SETLK, &lock);
}

static bool make_socket(struct gt_worker *w, struct object *o)
{
	int ends[2];

	(void)w;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return false;
	o->a = ends[0];
	o->b = ends[1];
	return true;
}

static bool make_key(struct gt_worker *w, struct object *o)
{
	struct maker *m = w->own;
	char name[32];

	snprintf(name, sizeof(name), "outlive:%u.%u", m->index, ++m->serial);
	o->b = -1;
	o->a = (int)syscall(SYS_add_key, "user", name, name, sizeof(name), KEYRING);
	return o->a >= 0;
}

static bool drop_files(const struct object *o)
{
	bool good = !close(o->a);

	return (o->b < 0 || !close(o->b)) && good;
}

static bool drop_message(const struct object *o)
{
	struct {
		long type;
		char text[200];
	} message;

	return msgrcv(o->a, &message, sizeof(message.text), o->b, IPC_NOWAIT) >= 0;
}

static bool drop_ipc(const struct object *o)
{
	return o->a >= 0 ? !shmctl(o->a, IPC_RMID, NULL) : !semctl(o->b, 0, IPC_RMID);
}

static bool drop_inode(const struct object *o)
{
	char path[96];

	inode_path(path, sizeof(path), o);
	return !unlink(path);
}

static bool drop_task(const struct object *o)
{
	return !kill(o->a, SIGKILL);
}

static bool drop_key(const struct object *o)
{
	return !syscall(SYS_keyctl, KEY_UNLINK, o->a, KEYRING);
}

static const struct {
	bool (*make)(struct gt_worker *w, struct object *o);
	bool (*drop)(const struct object *o);
	bool optional;		/* not in every kernel that kpv builds */
} kinds[KINDS] = {
	[FILES] = { make_file, drop_files, false },
	[PIPES] = { make_pipe, drop_files, false },
	[EPOLLS] = { make_epoll, drop_files, false },
	[TIMERS] = { make_timer, drop_files, false },
	[WATCHES] = { make_watch, drop_files, false },
	[MESSAGES] = { make_message, drop_message, false },
	[IPC] = { make_ipc, drop_ipc, false },
	[INODES] = { make_inode, drop_inode, false },
	[TASKS_KEPT] = { make_task, drop_task, false },
	[NAMESPACES] = { make_namespace, drop_files, false },
	[LOCKS] = { make_lock, drop_files, false },
	[SOCKETS] = { make_socket, drop_files, true },
	[KEYS] = { make_key, drop_key, true },
};

static bool make(struct gt_worker *w, enum kind kind, struct object *o)
{
	o->kind = kind;
	if (absent[kind])
		return false;
	if (kinds[kind].make(w, o)) {
		gt_count(kind, 1);
		return true;
	}
	if (kinds[kind].optional && (errno == ENOSYS || errno == EAFNOSUPPORT))
		absent[kind] = true;
	else if (kind != TASKS_KEPT)	/* there may be enough of them */
		gt_note("%s: %s", figures[kind], strerror(errno));
	return false;
}

static bool drop(const struct object *o)
{
	bool good;

	gt_enter(FREE_SHRINK, FREEING);
	if (o->last)
		gt_enter(LAST_FREE, FREEING);
	good = kinds[o->kind].drop(o);
	if (!good)
		gt_note("%s cannot be freed: %s", figures[o->kind], strerror(errno));
	if (o->last)
		gt_leave(LAST_FREE, FREEING);
	gt_leave(FREE_SHRINK, FREEING);
	return good;
}

/* --- before -------------------------------------------------------------------------------------- */

/* Caches whose objects are charged, by the names that they have in one kernel or another. */
static void find_caches(void)
{
	static const char *const names[] = {
		"filp", "dentry", "inode_cache", "shmem_inode_cache", "proc_inode_cache", "task_struct", "pid",
		"signal_cache", "sighand_cache", "files_cache", "fs_cache", "cred", "cred_jar", "vm_area_struct",
		"eventpoll_epi", "eventpoll_pwq", "inotify_inode_mark", "file_lock_cache", "uts_namespace", "nsproxy",
		"msg_msg-256", "kmalloc-cg-32", "kmalloc-cg-64", "kmalloc-cg-96", "kmalloc-cg-128", "kmalloc-cg-192",
		"kmalloc-cg-256", "kmalloc-cg-512", "kmalloc-cg-1k", "kmalloc-cg-2k", "kmalloc-64", "kmalloc-128",
	};
	unsigned int i;

	for (i = 0; i < GT_ARRAY(names); i++) {
		snprintf(caches[caches_n], sizeof(caches[0]), "/sys/kernel/slab/%s/shrink", names[i]);
		if (!access(caches[caches_n], W_OK))
			caches_n++;
	}
}

static bool setup(void)
{
	find_caches();
	absent = mmap(NULL, KINDS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (absent == MAP_FAILED || !caches_n) {
		gt_note(caches_n ? "no memory" : "no slab cache can be shrunk");
		return false;
	}
	/* Touched here, its page is not charged to a memcg that will die. */
	memset((void *)absent, 0, KINDS);
	snprintf(folder, sizeof(folder), "/tmp/slab_outlive.%d", getpid());
	if (mkdir(folder, 0755)) {
		gt_note("%s: %s", folder, strerror(errno));
		return false;
	}
	return true;
}

/* --- the helper ------------------------------------------------------------------------------------ */

/* Another process with the maker's open files, so that it closes what the maker opened. */
static bool free_next(struct list *list, unsigned int i)
{
	if (!drop(&list->objects[i]))
		atomic_store(&list->lost, true);
	return i + 1 < list->young && list->objects[i + 1].memcg == list->objects[i].memcg;
}

/*
 * Memcgs go offline one by one, in the order in which they were made.  The kernel says of a page which cgroup it is
 * charged to: of an offline one's that it is the parent (mm/memcontrol.c, page_cgroup_ino).
 */
static bool turn_of(const struct maker *m, unsigned int memcg)
{
	const struct list *list = m->list;
	uint64_t inode;

	if (atomic_load(&list->offline))
		return true;
	return pread(m->kpagecgroup, &inode, sizeof(inode), list->pages[memcg - 1].at) == sizeof(inode) &&
	       inode != list->pages[memcg - 1].inode;
}

static void free_all(struct gt_worker *w)
{
	const struct maker *m = w->own;
	struct list *list = m->list;
	unsigned int timed = 0, watched = list->timed, old = list->young;
	double from = gt_now();

	while (timed < list->timed || watched < list->young) {
		if (timed < list->timed && gt_now() >= from + list->objects[timed].at) {
			free_next(list, timed++);
		} else if (watched < list->young && turn_of(m, list->objects[watched].memcg)) {
			gt_sleep(list->objects[watched].at);
			while (free_next(list, watched++))
				;
		} else {
			gt_sleep(0.0002);
		}
	}
	if (old == list->n)
		return;
	/* Those whose memcgs are long gone in one go, when slabs are shrunk. */
	gt_meet(FREE_SHRINK, FREEING, w, 1000);
	gt_enter(FREE_SHRINK, FREEING);
	while (old < list->n)
		free_next(list, old++);
	gt_leave(FREE_SHRINK, FREEING);
}

static void __attribute__((noreturn)) help(struct gt_worker *w)
{
	struct list *list = ((struct maker *)w->own)->list;
	cpu_set_t all;
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* On any CPU but the maker's, where there is another. */
	CPU_ZERO(&all);
	for (i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &all);
	CPU_CLR(w->cpu, &all);
	sched_setaffinity(0, sizeof(all), &all);

	for (;;) {
		while (atomic_load(&list->done) == atomic_load(&list->told))
			gt_sleep(0.001);
		free_all(w);
		atomic_fetch_add(&list->done, 1);
	}
}

static void start_helper(struct gt_worker *w)
{
	struct maker *m = w->own;
	long pid;

	m->list = mmap(NULL, sizeof(*m->list), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m->list == MAP_FAILED)
		gt_die("no memory");
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (!pid)
		help(w);
	if (pid < 0)
		gt_die("no helper: %s", strerror(errno));
}

/* --- makers ------------------------------------------------------------------------------------------ */

static void go_home(struct maker *m)
{
	if (gt_cgroup_enter(gt_cgroup(), m->home))
		gt_die("%s cannot be entered", m->home);
	/* A task keeps the objcg that it charged last until it charges the next (current_objcg_update). */
	close(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static void maker_begin(struct gt_worker *w)
{
	struct maker *m = calloc(1, sizeof(*m));
	char name[96];
	int home, i;

	if (!m)
		gt_die("no memory");
	w->own = m;
	m->index = w->index;
	m->offline = 0.1;
	signal(SIGCHLD, SIG_IGN);
	snprintf(m->home, sizeof(m->home), "h%u", w->index);
	home = gt_cgroup_make(gt_cgroup(), m->home, false);
	snprintf(name, sizeof(name), "t%u", w->index);
	m->many = gt_cgroup_make_many(gt_cgroup(), name, MANY);
	if (home < 0 || m->many < 0)
		gt_die("%s: %s", name, strerror(home < 0 ? -home : -m->many));
	close(home);
	go_home(m);
	for (i = 0; i < TASKS; i++) {
		m->tasks[i].stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (m->tasks[i].stack == MAP_FAILED)
			gt_die("no memory");
	}
	m->home_namespace = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	m->queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	snprintf(name, sizeof(name), "%s/lock%u", folder, w->index);
	m->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->home_namespace < 0 || m->queue < 0 || m->lock < 0)
		gt_die("a maker cannot be set up: %s", strerror(errno));
	m->pages = mmap(NULL, MANY * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->pages == MAP_FAILED)
		gt_die("no memory");
	/* Where one of them is missing, no memcg is watched. */
	m->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	m->kpagecgroup = open("/proc/kpagecgroup", O_RDONLY | O_CLOEXEC);
	start_helper(w);
	gt_cgroup_memory(m->many, "+memory");
}

/* At a moment from a little before the first memcg goes offline to a little after the last. */
static void put_in_list(struct gt_worker *w, const struct object *o)
{
	struct maker *m = w->own;
	struct object *new = &m->list->objects[m->list->n++];
	double at = m->offline * gt_random_below(&w->random, 1200) / 1000.0;

	*new = *o;
	/* Or in its memcg's turn, which takes as long as others keep the lock of all cgroups. */
	new->at = o->watched ? at / MANY : at;
}

static int by_time(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	if ((x->memcg == MANY) != (y->memcg == MANY))
		return x->memcg == MANY ? 1 : -1;
	if (x->watched != y->watched)
		return x->watched ? 1 : -1;
	if (x->watched && x->memcg != y->memcg)
		return x->memcg < y->memcg ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* This process is in the memcg: a page that it is charged for tells later on whether it is online. */
static bool watch(struct maker *m, unsigned int memcg)
{
	uintptr_t at = (uintptr_t)(m->pages + memcg * PAGE);
	uint64_t entry, inode;

	m->pages[memcg * PAGE] = 1;
	if (pread(m->pagemap, &entry, sizeof(entry), (off_t)(at / PAGE * sizeof(entry))) != sizeof(entry))
		return false;
	/* Bits 0 to 54 are its number, if it is there (Documentation/admin-guide/mm/pagemap.rst). */
	m->list->pages[memcg].at = (off_t)((entry & ((1ULL << 55) - 1)) * sizeof(inode));
	if (!(entry >> 63) ||
	    pread(m->kpagecgroup, &inode, sizeof(inode), m->list->pages[memcg].at) != sizeof(inode))
		return false;
	m->list->pages[memcg].inode = inode;
	return true;
}

/* Any, once each of them has had its turn. */
static enum kind next_kind(struct gt_worker *w)
{
	struct maker *m = w->own;

	return m->kinds < KINDS ? m->kinds++ : gt_random_below(&w->random, KINDS);
}

/* Fill the memcgs; objects go to the helper's list, with a moment of their own, or to the pool. */
static void fill_batch(struct gt_worker *w)
{
	struct maker *m = w->own;
	bool watching = !gt_random_one_in(&w->random, 4), before = false;
	unsigned int i, n;
	char name[16];

	m->list->n = 0;
	for (i = 0; i < MANY; i++) {
		bool later = gt_random_one_in(&w->random, 3), watched, one;
		enum kind kind;

		snprintf(name, sizeof(name), "%u", i);
		if (gt_cgroup_enter(m->many, name))
			gt_die("%s cannot be entered", name);
		/* The turn of the first, and of one whose predecessor cannot be watched, is not to be seen. */
		watched = before && !gt_random_one_in(&w->random, 4);
		before = watching && watch(m, i);
		kind = next_kind(w);
		/* All of one kind, or any: some kinds are freed by a work item much later than they are given up. */
		one = gt_random_one_in(&w->random, 2);
		for (n = 1 + gt_random_below(&w->random, OBJECTS_MOST); n; n--) {
			struct object o = { .memcg = i, .watched = watched };

			if (!make(w, one ? kind : next_kind(w), &o))
				continue;
			if (!later || m->pool_n == POOL)
				put_in_list(w, &o);
			else
				m->pool[m->pool_n++] = o;
		}
	}
	go_home(m);
}

/* Objects of memcgs that are no more, in any order. */
static void take_from_pool(struct gt_worker *w, unsigned int keep)
{
	struct maker *m = w->own;

	while (m->pool_n > keep) {
		uint32_t i = gt_random_below(&w->random, m->pool_n);

		m->pool[i].memcg = MANY;
		m->pool[i].watched = false;
		put_in_list(w, &m->pool[i]);
		m->pool[i] = m->pool[--m->pool_n];
	}
}

/* Hand the list over; the helper starts at once. */
static void tell_helper(struct maker *m)
{
	struct list *list = m->list;
	bool seen[MANY + 1] = { false };
	unsigned int i;

	qsort(list->objects, list->n, sizeof(list->objects[0]), by_time);
	for (list->young = 0; list->young < list->n && list->objects[list->young].memcg != MANY;)
		list->young++;
	for (list->timed = 0; list->timed < list->young && !list->objects[list->timed].watched;)
		list->timed++;
	atomic_store(&list->offline, false);
	seen[MANY] = true;
	for (i = list->n; i-- > 0;) {
		list->objects[i].last = !seen[list->objects[i].memcg];
		seen[list->objects[i].memcg] = true;
	}
	atomic_fetch_add(&list->told, 1);
}

static void wait_for_helper(struct maker *m)
{
	while (atomic_load(&m->list->done) != atomic_load(&m->list->told))
		gt_sleep(0.001);
	if (atomic_load(&m->list->lost))
		gt_die("an object is lost");
}

static void make_batch(struct gt_worker *w)
{
	struct maker *m = w->own;
	double from;

	/* Those that have been there for some batches, before those of this one join them. */
	fill_batch(w);
	take_from_pool(w, POOL_KEEP);
	tell_helper(m);
	from = gt_now();
	gt_enter(LAST_FREE, OTHER);
	gt_cgroup_memory(m->many, "-memory");
	/* Returns when all of them are offline. */
	gt_cgroup_memory(m->many, "+memory");
	gt_leave(LAST_FREE, OTHER);
	atomic_store(&m->list->offline, true);
	m->offline = gt_now() - from;
	wait_for_helper(m);
	madvise(m->pages, MANY * PAGE, MADV_DONTNEED);
	gt_count(MEMCGS, MANY);
	gt_cycles(MANY);
}

static void maker_end(struct gt_worker *w)
{
	struct maker *m = w->own;

	m->list->n = 0;
	m->offline = 0;
	take_from_pool(w, 0);
	tell_helper(m);
	wait_for_helper(m);
	msgctl(m->queue, IPC_RMID, NULL);
}

/* --- shrinkers ------------------------------------------------------------------------------------------- */

static void shrink(struct gt_worker *w)
{
	unsigned int i;

	gt_sleep(gt_random_below(&w->random, 64) / 1000.0);
	if (gt_random_one_in(&w->random, 2))
		gt_meet(FREE_SHRINK, OTHER, w, 1000);
	gt_enter(FREE_SHRINK, OTHER);
	if (gt_random_one_in(&w->random, 8)) {
		gt_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "2");
		gt_count(DROPS, 1);
	} else {
		for (i = 0; i < 6; i++)
			gt_write(AT_FDCWD, caches[gt_random_below(&w->random, caches_n)], "1");
		gt_count(SHRINKS, i);
	}
	gt_leave(FREE_SHRINK, OTHER);
}

/* --- afterwards ------------------------------------------------------------------------------------------ */

static unsigned int rounds;
static long long percpu[GT_ROUNDS];	/* allocations of the whole kernel, after each round */
static uint64_t memcgs[GT_ROUNDS];	/* that came and went until then */
static bool drained = true;

/* From the kernel's own statistics, or -1: PERCPU_STATS is an option. */
static long long percpu_allocations(void)
{
	static char text[65536];
	const char *at;

	if (gt_read(AT_FDCWD, "/sys/kernel/debug/percpu_stats", text, sizeof(text)) < 0)
		return -1;
	at = strstr(text, "nr_cur_alloc");
	at = at ? strchr(at, ':') : NULL;
	return at ? strtoll(at + 1, NULL, 10) : -1;
}

static void settle(void)
{
	long long now, before = -1;
	double until;

	gt_remove_all(AT_FDCWD, folder);
	mkdir(folder, 0755);
	gt_cgroup_remove_below(gt_cgroup());
	drained = gt_cgroup_drain(gt_cgroup(), 60) && drained;
	/* What is released by work and RCU goes a little later. */
	until = gt_now() + 5;
	for (now = percpu_allocations(); now != before && gt_now() < until; now = percpu_allocations()) {
		before = now;
		gt_sleep(0.3);
	}
	if (rounds < GT_ROUNDS) {
		percpu[rounds] = now;
		memcgs[rounds] = gt_figure(MEMCGS);
		rounds++;
	}
}

static bool all_kinds_made(void)
{
	bool good = true;
	int i;

	for (i = 0; i < KINDS; i++) {
		if (gt_figure(i) || absent[i])
			continue;
		gt_note("no %s", figures[i]);
		good = false;
	}
	return good;
}

static bool slabs_shrunk(void)
{
	return gt_figure(SHRINKS) > 0;
}

static bool nothing_left_dying(void)
{
	return drained && gt_read_key(gt_cgroup(), "cgroup.stat", "nr_descendants") == 0;
}

static bool counters_back(void)
{
	long long current = gt_read_number(gt_cgroup(), "memory.current");
	long long slab = gt_read_key(gt_cgroup(), "memory.stat", "slab");
	long long kernel = gt_read_key(gt_cgroup(), "memory.stat", "kernel");

	gt_note("memory.current=%lld slab=%lld kernel=%lld", current, slab, kernel);
	return current >= 0 && current < (1 << 20) && slab < (1 << 18) && kernel < (1 << 19);
}

/* Compared with the round before: what is made once is made in the first. */
static bool percpu_back(void)
{
	long long more = percpu[GT_ROUNDS - 1] - percpu[GT_ROUNDS - 2];
	uint64_t of = memcgs[GT_ROUNDS - 1] - memcgs[GT_ROUNDS - 2];

	if (percpu[0] < 0)
		gt_note("no percpu_stats: this kernel does not count them");
	else
		gt_note("percpu allocations after each round: %lld %lld %lld, memcgs of the last: %llu", percpu[0],
			percpu[1], percpu[2], (unsigned long long)of);
	return percpu[0] < 0 || more <= 4 + (long long)of / 16;
}

static void teardown(void)
{
	gt_remove_all(AT_FDCWD, folder);
}

static const struct gt_role roles[] = {
	{ .name = "maker", .begin = maker_begin, .cycle = make_batch, .end = maker_end },
	{ .name = "shrinker", .cycle = shrink },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "all_kinds_made", all_kinds_made },
	{ "slabs_shrunk", slabs_shrunk },
	{ "nothing_left_dying", nothing_left_dying },
	{ "counters_back", counters_back },
	{ "percpu_back", percpu_back },
	{ "no_oom_kill", gt_no_oom_kill },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "slab_outlive",
	.stresses = "slab objects of many kinds that are freed while their memcg goes offline, and after",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
