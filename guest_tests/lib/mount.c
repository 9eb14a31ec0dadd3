// SPDX-License-Identifier: MIT
/* Mounts of a program's own, and the counts that the kernel keeps of what a superblock's shrinker has. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gt.h"

#define IMAGE		"/share/ext4"	/* blocks that are not zero, each behind its number (u64) */
#define IMAGE_BLOCK	1024
#define SHRINKERS	"/sys/kernel/debug/shrinker"

bool gt_mounts_private(void)
{
	if (!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return true;
	gt_note("no mount namespace: %s", strerror(errno));
	return false;
}

bool gt_ext4_write(const char *device)
{
	struct {
		uint64_t number;
		char data[IMAGE_BLOCK];
	} __attribute__((packed)) block;
	int from = open(IMAGE, O_RDONLY | O_CLOEXEC);
	int to = open(device, O_WRONLY | O_CLOEXEC);
	bool good = from >= 0 && to >= 0;

	while (good && read(from, &block, sizeof(block)) == sizeof(block))
		good = pwrite(to, block.data, IMAGE_BLOCK, (off_t)block.number * IMAGE_BLOCK) == IMAGE_BLOCK;
	good = good && !fsync(to);
	if (!good)
		gt_note("%s cannot be written to %s: %s", IMAGE, device, strerror(errno));
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return good;
}

bool gt_mount(const char *type, const char *source, const char *point, const char *options)
{
	if (mkdir(point, 0755) && errno != EEXIST) {
		gt_note("%s: %s", point, strerror(errno));
		return false;
	}
	if (mount(source, point, type, 0, options)) {
		gt_note("%s on %s: %s", type, point, strerror(errno));
		return false;
	}
	return true;
}

bool gt_unmount(const char *point, double seconds)
{
	double until = gt_now() + seconds;

	while (umount(point)) {
		if (errno != EBUSY || gt_now() > until) {
			gt_note("%s: %s", point, strerror(errno));
			return false;
		}
		gt_sleep(0.005);
	}
	return true;
}

bool gt_shrinker_find(const char *prefix, char *path, size_t size)
{
	DIR *folder = opendir(SHRINKERS);
	struct dirent *entry;
	bool found = false;

	if (!folder)
		return false;
	while (!found && (entry = readdir(folder))) {
		/* "<name>-<number>", and a name may itself be the beginning of another. */
		size_t length = strlen(prefix);

		found = !strncmp(entry->d_name, prefix, length) && entry->d_name[length] == '-' &&
			strspn(entry->d_name + length + 1, "0123456789") == strlen(entry->d_name + length + 1);
		if (found)
			snprintf(path, size, "%s/%s", SHRINKERS, entry->d_name);
	}
	closedir(folder);
	return found;
}

int gt_shrinker_count(const char *shrinker, unsigned long long ino, long long *counts, unsigned int nodes)
{
	char path[256], line[512];
	unsigned int i;
	FILE *file;

	for (i = 0; i < nodes; i++)
		counts[i] = 0;
	snprintf(path, sizeof(path), "%s/count", shrinker);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		char *at;

		if (strtoull(line, &at, 10) != ino)
			continue;
		for (i = 0; i < nodes; i++)
			counts[i] = strtoll(at, &at, 10);
	}
	fclose(file);
	return 0;
}

int gt_shrinker_scan(const char *shrinker, unsigned long long ino, unsigned int node, unsigned long most)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/scan", shrinker);
	return gt_write(AT_FDCWD, path, "%llu %u %lu", ino, node, most);
}

unsigned long long gt_ino(int fd)
{
	struct stat status;

	return fstat(fd, &status) ? 0 : status.st_ino;
}
