// SPDX-License-Identifier: MIT
/* The workers of a round: forked, pinned, told when it is over, and ended if they do not end. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inside.h"

#define WORKERS_MAX	64
#define CPUS_MAX	256
/* Seconds that a worker may take for its last cycle before it counts as stuck. */
#define LAST_CYCLE	60.0

/* CPUs of all nodes in turn: with two workers of a role they stand on two nodes, if there are two. */
static unsigned int spread_cpus(unsigned int *cpus)
{
	unsigned int node_of[CPUS_MAX], taken[CPUS_MAX] = { 0 };
	unsigned int n = 0, node = 0, misses = 0, total, i;
	unsigned int all[CPUS_MAX];
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 0;
	for (i = 0; i < CPUS_MAX && i < CPU_SETSIZE; i++) {
		unsigned int of = 0;
		char path[80];

		if (!CPU_ISSET(i, &set))
			continue;
		for (of = 0; of < 64; of++) {
			snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/node%u", i, of);
			if (!access(path, F_OK))
				break;
		}
		node_of[n] = of % 64;
		all[n++] = i;
	}
	total = n;
	for (n = 0; n < total && misses < 64; node = (node + 1) % 64) {
		for (i = 0; i < total; i++)
			if (!taken[i] && node_of[i] == node)
				break;
		if (i == total) {
			misses++;
			continue;
		}
		misses = 0;
		taken[i] = 1;
		cpus[n++] = all[i];
	}
	return n;
}

static void on_term(int number)
{
	/* Only there to make a call that sleeps return with EINTR. */
	(void)number;
}

static void __attribute__((noreturn)) work(const struct gt_role *role, struct gt_worker *w, pid_t parent)
{
	struct sigaction action = { .sa_handler = on_term };
	cpu_set_t set;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	sigaction(SIGTERM, &action, NULL);
	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);

	if (role->begin)
		role->begin(w);
	/* At least one, however short the budget and slow the machine. */
	do {
		role->cycle(w);
	} while (!gt_over());
	if (role->end)
		role->end(w);
	_exit(0);
}

bool gt_run_workers(unsigned int workers, uint64_t seed, unsigned int round)
{
	unsigned int cpus[CPUS_MAX], roles = 0, running, i;
	pid_t pids[WORKERS_MAX], self = getpid();
	unsigned int cpus_n = spread_cpus(cpus);
	double kill_at = gt_over_at + LAST_CYCLE;
	bool told = false, good = true;

	while (gt_program.roles[roles].name)
		roles++;
	for (i = 0; i < workers; i++) {
		struct gt_worker w = {
			.index = i,
			.rank = i / roles,
			.cpu = cpus_n ? cpus[i / roles % cpus_n] : 0,
		};

		/* Each round has streams of its own: the same schedule thrice would show one thing. */
		gt_random_seed(&w.random, seed, round * WORKERS_MAX + i);
		pids[i] = fork();
		if (!pids[i])
			work(&gt_program.roles[i % roles], &w, self);
		if (pids[i] < 0) {
			gt_note("worker %u: fork: %s", i, strerror(errno));
			good = false;
			continue;
		}
		setpgid(pids[i], pids[i]);
	}

	do {
		double now = gt_now();

		running = 0;
		for (i = 0; i < workers; i++) {
			int status;

			if (pids[i] <= 0)
				continue;
			if (waitpid(pids[i], &status, WNOHANG) == pids[i]) {
				if (!WIFEXITED(status) || WEXITSTATUS(status)) {
					gt_note("worker %u (%s) ended with %s %d", i, gt_program.roles[i % roles].name,
						WIFSIGNALED(status) ? "signal" : "status",
						WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
					good = false;
				}
				kill(-pids[i], SIGKILL);
				pids[i] = 0;
				continue;
			}
			running++;
			if (now > kill_at) {
				gt_note("worker %u (%s) did not end", i, gt_program.roles[i % roles].name);
				kill(-pids[i], SIGKILL);
				good = false;
			} else if (now > gt_over_at && !told) {
				kill(pids[i], SIGTERM);
			}
		}
		/* A second signal would cut short what a worker does to tidy up. */
		told = now > gt_over_at;
		if (now > kill_at)
			kill_at = now + LAST_CYCLE;
		if (running)
			gt_sleep(0.05);
	} while (running);
	return good;
}

