/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_usocket: who may connect, and from when on: when a socket begins to listen, its file has owner, group
 * and mode already, and nobody else's file is given away.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "usocket.h"

enum { GROUP = 64055, OWNER = 64056 };

static char directory[] = "/tmp/vnicd-test-XXXXXX";
static char path[sizeof(directory) + 8];

static struct vnic_ctx ctx;

/* As the file was when listen() was called first. */
static struct stat at_listen;
static unsigned int n_listens;

int
listen(int fd, int backlog)
{
	if (n_listens++ == 0)
		assert_int_equal(lstat(path, &at_listen), 0);
	return (int)syscall(SYS_listen, fd, backlog);
}

/* What happens between bind() and the giving away. */
static void (*meanwhile)(void);

int
bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int ret = (int)syscall(SYS_bind, fd, addr, len);

	if (meanwhile)
		meanwhile();
	return ret;
}

static int
setup(void **state)
{
	n_listens = 0;
	meanwhile = NULL;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/s", directory);
	return 0;
}

static int
teardown(void **state)
{
	unlink(path);
	rmdir(directory);
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	return 0;
}

static void
test_before_it_listens(void **state)
{
	static const struct {
		struct perms perms;
		mode_t mode;
	} row[] = {
		{{.mode = 0}, 0660},
		{{.mode = 0600}, 0600},
		{{.mode = 0666, .group = {GROUP, true}}, 0666},
		{{.owner = {OWNER, true}, .group = {GROUP, true}}, 0660},
	};
	const bool is_root = geteuid() == 0;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		const struct perms *perms = &row[i].perms;
		struct usocket sock;
		struct diag diag;
		mode_t mask = umask(022);

		if (perms->group.given && !is_root)
			continue;
		n_listens = 0;
		assert_int_equal(usocket_listen(&ctx, &sock, path, 1, perms, &diag), 0);
		assert_int_equal(umask(mask), 022);
		assert_int_equal(at_listen.st_mode & 07777, row[i].mode);
		assert_int_equal(at_listen.st_uid, perms->owner.given ? perms->owner.id : geteuid());
		assert_int_equal(at_listen.st_gid, perms->group.given ? perms->group.id : getegid());
		usocket_close(&ctx, &sock);
		assert_int_equal(access(path, F_OK), -1);
	}
}

static void
replace_by_file(void)
{
	FILE *file;

	assert_int_equal(unlink(path), 0);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
}

static void
replace_by_link(void)
{
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
}

/* Somebody who may write to the directory puts another file there: it stays as it is. */
static void
test_replaced(void **state)
{
	static void (*const replace[])(void) = {replace_by_file, replace_by_link};
	const struct perms perms = {.owner = {OWNER, true}, .group = {GROUP, true}};
	struct stat before, after;

	assert_int_equal(stat("/etc/passwd", &before), 0);
	for (size_t i = 0; i < sizeof(replace) / sizeof(replace[0]); i++) {
		struct usocket sock;
		struct diag diag;

		unlink(path);
		meanwhile = replace[i];
		assert_int_equal(usocket_listen(&ctx, &sock, path, 1, &perms, &diag), -ESTALE);
		assert_int_equal(n_listens, 0);
		assert_null(ctx.usockets);
	}
	assert_int_equal(stat("/etc/passwd", &after), 0);
	assert_int_equal(after.st_uid, before.st_uid);
	assert_int_equal(after.st_gid, before.st_gid);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_before_it_listens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
	};

	return UNIT_RUN(tests);
}
