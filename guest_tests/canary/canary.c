// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Faults on purpose, one for each detector: a detector that was not seen at work is not trusted.
 *
 * The module is built against each kernel under test and loaded into the guest when its trials are over.
 * debugfs canary/plant takes the name of a fault, and for some an argument.  A fault comes about in a
 * thread of its own, since some end the thread that runs into them, and the writer is /init; those that
 * only leave something behind do so before the write returns.  "stop" ends what would go on.
 */
#include <linux/cgroup.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/workqueue.h>

/* No fault outlives these by itself: a guest whose only CPU spins has to hear of the end some time. */
#define SPIN_SECONDS	20
#define HANG_SECONDS	120
#define LOST_OBJECTS	16

static bool stop;
static DECLARE_COMPLETION(never);
/* What a fault reads goes here, and what ends in it has no tail call that would take it off the stack. */
static long sink;

/* --- memory --------------------------------------------------------------------------- */

static noinline void canary_kasan(void)
{
	char *p = kmalloc(128, GFP_KERNEL);

	if (!p)
		return;
	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(sink, READ_ONCE(p[16]));
}

static noinline void canary_kmemleak(void)
{
	int i;

	/* More than one: a stale pointer somewhere on a stack hides the object it points to. */
	for (i = 0; i < LOST_OBJECTS; i++) {
		char *p = kmalloc(500, GFP_KERNEL);

		if (p)
			memset(p, 'L', 500);
		OPTIMIZER_HIDE_VAR(p);
	}
	WRITE_ONCE(sink, i);
}

static noinline void canary_list(void)
{
	static LIST_HEAD(head);
	static struct list_head first, second;

	list_add(&first, &head);
	WRITE_ONCE(first.prev, &second);
	list_add(&second, &head);
	WRITE_ONCE(sink, 0);
}

/* --- locks and context ------------------------------------------------------------------ */

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

static noinline void canary_lockdep(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);

	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

static int __rcu *published;

static noinline void canary_rcu(void)
{
	WRITE_ONCE(sink, (long)rcu_dereference(published));
}

static noinline void canary_sleep(void)
{
	preempt_disable();
	might_sleep();
	preempt_enable();
	WRITE_ONCE(sink, 0);
}

/* --- objects ------------------------------------------------------------------------------ */

static void nothing_due(struct timer_list *unused)
{
}

static noinline void canary_odebug(void)
{
	static struct timer_list timer;

	timer_setup(&timer, nothing_due, 0);
	mod_timer(&timer, jiffies + 3600 * HZ);
	timer_setup(&timer, nothing_due, 0);
	WRITE_ONCE(sink, 0);
}

/* --- time --------------------------------------------------------------------------------- */

static noinline void canary_spin(void)
{
	unsigned long end = jiffies + SPIN_SECONDS * HZ;

	preempt_disable();
	while (!READ_ONCE(stop) && time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
}

static noinline void canary_hang(void)
{
	wait_for_completion_timeout(&never, HANG_SECONDS * HZ);
	WRITE_ONCE(sink, 0);
}

static void spinning_work(struct work_struct *unused)
{
	canary_spin();
}

static void waiting_work(struct work_struct *unused)
{
}

static DECLARE_WORK(spins, spinning_work);
static DECLARE_WORK(waits, waiting_work);

static noinline void canary_workqueue(void)
{
	int cpu = cpumask_last(cpu_online_mask);

	queue_work_on(cpu, system_wq, &spins);
	queue_work_on(cpu, system_wq, &waits);
}

/* --- races -------------------------------------------------------------------------------- */

static long raced;

static noinline int canary_race_writer(void *unused)
{
	while (!kthread_should_stop()) {
		raced += 0x1111;
		cond_resched();
	}
	return 0;
}

static noinline int canary_race_reader(void *unused)
{
	while (!kthread_should_stop()) {
		WRITE_ONCE(sink, raced);
		cond_resched();
	}
	return 0;
}

static noinline void canary_race(void)
{
	struct task_struct *writer = kthread_create(canary_race_writer, NULL, "canary-writer");
	struct task_struct *reader = kthread_create(canary_race_reader, NULL, "canary-reader");
	unsigned long end = jiffies + SPIN_SECONDS * HZ;

	if (!IS_ERR(writer)) {
		kthread_bind(writer, cpumask_first(cpu_online_mask));
		wake_up_process(writer);
	}
	if (!IS_ERR(reader)) {
		kthread_bind(reader, cpumask_last(cpu_online_mask));
		wake_up_process(reader);
	}
	while (!READ_ONCE(stop) && time_before(jiffies, end))
		schedule_timeout_idle(HZ / 10);
	if (!IS_ERR(writer))
		kthread_stop(writer);
	if (!IS_ERR(reader))
		kthread_stop(reader);
}

/* --- what is never given back --------------------------------------------------------------- */

/* One reference on the memcg of a cgroup, by its path. */
static int canary_memcg(const char *path)
{
#ifdef CONFIG_MEMCG
	struct cgroup *cgroup = cgroup_get_from_path(path);
	struct cgroup_subsys_state *css;

	if (IS_ERR(cgroup))
		return PTR_ERR(cgroup);
	rcu_read_lock();
	css = rcu_dereference(cgroup->subsys[memory_cgrp_id]);
	if (css)
		css_get(css);
	rcu_read_unlock();
	cgroup_put(cgroup);
	return css ? 0 : -ENOENT;
#else
	return -EOPNOTSUPP;
#endif
}

struct kept {
	struct kept *next;
	char rest[248];
};

static struct kmem_cache *cache;
static struct kept *kept;

/* A cache with a constructor is never merged with another, so its objects are counted by its name. */
static void construct(void *unused)
{
}

/* So many objects of a cache of their own.  They are on a list: lost they are not, only kept. */
static int canary_ledger(const char *count)
{
	unsigned int n;

	if (kstrtouint(count, 10, &n) || n > 100000)
		return -EINVAL;
	if (!cache)
		cache = kmem_cache_create("canary", sizeof(struct kept), 0, 0, construct);
	if (!cache)
		return -ENOMEM;
	while (n--) {
		struct kept *one = kmem_cache_alloc(cache, GFP_KERNEL);

		if (!one)
			return -ENOMEM;
		one->next = kept;
		kept = one;
	}
	return 0;
}

/* --- debugfs --------------------------------------------------------------------------------- */

static int canary_stop(const char *unused)
{
	WRITE_ONCE(stop, true);
	complete_all(&never);
	return 0;
}

static const struct fault {
	const char *name;
	void (*run)(void);		/* in a thread of its own */
	int (*leave)(const char *what);	/* in the writer */
} faults[] = {
	{ "kasan", canary_kasan },
	{ "kmemleak", canary_kmemleak },
	{ "list", canary_list },
	{ "lockdep", canary_lockdep },
	{ "rcu", canary_rcu },
	{ "atomic-sleep", canary_sleep },
	{ "debug-objects", canary_odebug },
	{ "soft-lockup", canary_spin },
	{ "hung-task", canary_hang },
	{ "workqueue", canary_workqueue },
	{ "kcsan", canary_race },
	{ "memcg", NULL, canary_memcg },
	{ "ledger", NULL, canary_ledger },
	{ "stop", NULL, canary_stop },
};

static int come_about(void *fault)
{
	((const struct fault *)fault)->run();
	return 0;
}

static int plant(const struct fault *fault, const char *what)
{
	struct task_struct *thread;

	if (fault->leave)
		return fault->leave(what);
	WRITE_ONCE(stop, false);
	reinit_completion(&never);
	thread = kthread_run(come_about, (void *)fault, "canary-%s", fault->name);
	return PTR_ERR_OR_ZERO(thread);
}

static ssize_t plant_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	char text[256] = "", *what = text, *name;
	int i, error;

	if (count >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, count))
		return -EFAULT;
	what = strim(text);
	name = strsep(&what, " ");
	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		if (strcmp(name, faults[i].name))
			continue;
		error = plant(&faults[i], what ? what : "");
		return error ? error : count;
	}
	return -EINVAL;
}

static const struct file_operations plant_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = plant_write,
};

static int __init canary_init(void)
{
	struct dentry *folder = debugfs_create_dir("canary", NULL);

	if (IS_ERR(folder))
		return PTR_ERR(folder);
	debugfs_create_file("plant", 0200, folder, NULL, &plant_fops);
	return 0;
}

/* No exit: what was planted stays, and so must the code that it came from. */
module_init(canary_init);
MODULE_DESCRIPTION("Faults on purpose, to see each detector at work");
MODULE_LICENSE("GPL");
