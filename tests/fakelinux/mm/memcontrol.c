#include <linux/mm.h>

static struct mem_cgroup root = { .id = 1 };

long memcg_charge(long pages);

long memcg_charge(long pages)
{
	root.usage += pages;
	return root.usage;
}
