/* SPDX-License-Identifier: BSD-3-Clause */
/* Records: what a killed process leaves is whole, or the one before; what anybody else has put there is
 * refused. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "record.h"

enum { SIZE = 1000, VERSION = 7, FILE_MAX = 8192 };

static char dir[] = "/dev/shm/vnicd-record-XXXXXX", path[64];

struct content {
	uint8_t bytes[SIZE];
};

static struct content
content_of(uint8_t first)
{
	struct content content;

	for (unsigned int i = 0; i < SIZE; i++)
		content.bytes[i] = (uint8_t)(first + i * 7);
	return content;
}

/* What the next process finds; 0: nothing, else the first byte. */
static int
found_after(uint32_t version, uint32_t size)
{
	struct content found = {{0}}, whole;
	struct record *record;
	struct diag diag;
	bool is_found;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (record_open(path, version, size, &record, &found, &is_found, &diag) < 0)
			_exit(255);
		whole = content_of(found.bytes[0]);
		if (is_found && memcmp(&whole, &found, sizeof(found)) != 0)
			_exit(254);
		/* As if killed: nothing is closed. */
		_exit(is_found ? found.bytes[0] : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* In a process that is killed then. */
static void
write_in_child(uint8_t first, unsigned int n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct content found, content;
		struct record *record;
		struct diag diag;
		bool is_found;

		if (record_open(path, VERSION, SIZE, &record, &found, &is_found, &diag) < 0)
			_exit(1);
		for (unsigned int i = 0; i < n; i++) {
			content = content_of((uint8_t)(first + i));
			if (record_write(record, &content) < 0)
				_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static size_t
file_read(uint8_t *bytes)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, bytes, FILE_MAX);

	close(fd);
	assert_true(n > 0 && n < FILE_MAX);
	return (size_t)n;
}

static void
file_write(const uint8_t *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);

	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void
test_the_last_write_is_found(void **state)
{
	assert_int_equal(found_after(VERSION, SIZE), 0);
	for (unsigned int n = 1; n < 6; n++) {
		write_in_child((uint8_t)(10 * n), n);
		assert_int_equal(found_after(VERSION, SIZE), 10 * n + n - 1);
	}
	assert_int_equal(found_after(VERSION + 1, SIZE), 0);
	assert_int_equal(found_after(VERSION, SIZE - 1), 0);
}

/* Killed in the middle of a write, after any number of its bytes: the one before. */
static void
test_half_a_write_is_none(void **state)
{
	uint8_t before[FILE_MAX], after[FILE_MAX], torn[FILE_MAX];
	size_t len, first = 0, last = 0;

	write_in_child(50, 3);
	len = file_read(before);
	write_in_child(60, 1);
	assert_int_equal(file_read(after), len);
	for (size_t i = 0; i < len; i++)
		if (before[i] != after[i]) {
			first = last ? first : i;
			last = i;
		}
	assert_true(last > first);
	for (size_t cut = first + 1; cut <= last; cut += 13) {
		memcpy(torn, before, len);
		memcpy(torn + first, after + first, cut - first);
		file_write(torn, len);
		assert_int_equal(found_after(VERSION, SIZE), 52);
	}
	file_write(after, len);
	assert_int_equal(found_after(VERSION, SIZE), 60);
}

/* Any byte changed: what is found is whole, or nothing. */
static void
test_what_was_changed_is_not_found(void **state)
{
	uint8_t bytes[FILE_MAX];
	size_t len;

	write_in_child(70, 2);
	len = file_read(bytes);
	for (size_t i = 0; i < len; i += 11) {
		int found;

		bytes[i] ^= 0x10;
		file_write(bytes, len);
		found = found_after(VERSION, SIZE);
		assert_true(found == 0 || found == 70 || found == 71);
		bytes[i] ^= 0x10;
	}
	file_write(bytes, 100);
	assert_int_equal(found_after(VERSION, SIZE), 0);
}

static int
open_error(void)
{
	struct record *record;
	struct content found;
	struct diag diag;
	bool is_found;
	int ret = record_open(path, VERSION, SIZE, &record, &found, &is_found, &diag);

	if (ret == 0)
		record_remove(record);
	else
		assert_true(diag.cause[0] != '\0');
	return ret;
}

static void
test_what_is_not_ours_is_refused(void **state)
{
	char other[80];
	struct record *record;
	struct content found;
	struct diag diag;
	bool is_found;

	snprintf(other, sizeof(other), "%s/other", dir);
	unlink(path);
	close(open(other, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(open_error(), -EEXIST);
	unlink(path);
	assert_int_equal(link(other, path), 0);
	assert_int_equal(open_error(), -EEXIST);
	unlink(path);
	unlink(other);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(open_error(), -EEXIST);
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(open_error(), -EEXIST);
	unlink(path);
	file_write((const uint8_t *)"x", 1);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(open_error(), -EEXIST);
	unlink(path);

	assert_int_equal(record_open(path, VERSION, SIZE, &record, &found, &is_found, &diag), 0);
	assert_int_equal(open_error(), -EBUSY);
	record_remove(record);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(open_error(), 0);
}

/* Stores are what is found, without any call; in a file of another form they are not. */
static void
test_memory_outlives_its_process(void **state)
{
	const struct content content = content_of(90);
	struct content found;
	struct record *record;
	struct diag diag;
	void *memory;
	bool is_found;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (record_map(path, VERSION, SIZE, &record, &memory, &found, &is_found, &diag) < 0 ||
		    is_found)
			_exit(1);
		memcpy(memory, &content, sizeof(content));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(record_map(path, VERSION, SIZE, &record, &memory, &found, &is_found, &diag), 0);
	assert_true(is_found);
	assert_memory_equal(&found, &content, sizeof(content));
	assert_int_equal((uintptr_t)memory % 64, 0);
	for (unsigned int i = 0; i < SIZE; i++)
		assert_int_equal(((uint8_t *)memory)[i], 0);
	assert_int_equal(record_map(path, VERSION, SIZE, &record, &memory, &found, &is_found, &diag), -EBUSY);
	record_remove(record);

	write_in_child(33, 2);
	assert_int_equal(record_map(path, VERSION, SIZE, &record, &memory, &found, &is_found, &diag), 0);
	assert_false(is_found);
	record_remove(record);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_last_write_is_found),
		cmocka_unit_test(test_half_a_write_is_none),
		cmocka_unit_test(test_what_was_changed_is_not_found),
		cmocka_unit_test(test_what_is_not_ours_is_refused),
		cmocka_unit_test(test_memory_outlives_its_process),
	};
	int ret;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/record", dir);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(dir);
	return ret;
}
