#ifndef _LINUX_MM_H
#define _LINUX_MM_H

struct mem_cgroup {
	int id;
	long usage;
};

long page_alloc(int order);
long shrink(struct mem_cgroup *memcg);
int dcache_shrink(int nr);

#endif
