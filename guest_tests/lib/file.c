// SPDX-License-Identifier: MIT
/* Small files of the kernel, and folders to be removed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gt.h"

int gt_write(int dir, const char *path, const char *format, ...)
{
	char text[256];
	va_list args;
	ssize_t done;
	int length, error, fd;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= sizeof(text))
		return -E2BIG;

	fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* One write: the kernel's files take a value whole or not at all. */
	done = write(fd, text, length);
	error = done < 0 ? -errno : 0;
	close(fd);
	return error;
}

int gt_read(int dir, const char *path, char *text, size_t size)
{
	size_t length = 0;
	int error = 0;
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (length < size - 1) {
		ssize_t got = read(fd, text + length, size - 1 - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			error = -errno;
		if (got <= 0)
			break;
		length += got;
	}
	close(fd);
	text[length] = '\0';
	return error ? error : (int)length;
}

long long gt_read_number(int dir, const char *path)
{
	char text[64];
	int got = gt_read(dir, path, text, sizeof(text));
	char *end;
	long long value;

	if (got < 0)
		return got;
	value = strtoll(text, &end, 10);
	return end == text ? -EINVAL : value;
}

long long gt_read_key(int dir, const char *path, const char *key)
{
	char text[8192];
	size_t length = strlen(key);
	int got = gt_read(dir, path, text, sizeof(text));
	const char *line;

	if (got < 0)
		return got;
	for (line = text; line && *line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, key, length) && line[length] == ' ')
			return strtoll(line + length, NULL, 10);
	}
	return -ENOENT;
}

int gt_remove_all(int dir, const char *path)
{
	struct dirent *entry;
	int error = 0;
	DIR *folder;
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return unlinkat(dir, path, 0) ? -errno : 0;
	folder = fdopendir(fd);
	if (!folder) {
		error = -errno;
		close(fd);
		return error;
	}
	while ((entry = readdir(folder))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (entry->d_type != DT_DIR && !unlinkat(fd, entry->d_name, 0))
			continue;
		if (gt_remove_all(fd, entry->d_name))
			error = -ENOTEMPTY;
	}
	closedir(folder);
	if (unlinkat(dir, path, AT_REMOVEDIR))
		error = -errno;
	return error;
}
