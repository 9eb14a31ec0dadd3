#include <linux/mm.h>

void start_kernel(void);

void start_kernel(void)
{
	page_alloc(0);
	dcache_shrink(1);
}
