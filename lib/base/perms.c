/* SPDX-License-Identifier: BSD-3-Clause */
#include "perms.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nearest.h"

enum { PERMS_MODE_MAX = 0777, PERMS_WRITE = 0222, PERMS_NAME_MAX = 32, PERMS_NAMES_MAX = 512 };

static const char *const perms_words[] = {[PERMS_USER] = "user", [PERMS_GROUP] = "group"};

/* 0, -ENOENT, or another -errno of the database. */
static int
perms_find(enum perms_kind kind, const char *name, uint32_t *ret_id)
{
	errno = 0;
	if (kind == PERMS_USER) {
		const struct passwd *user = getpwnam(name);

		if (!user)
			return errno && errno != ESRCH ? -errno : -ENOENT;
		*ret_id = user->pw_uid;
	} else {
		const struct group *group = getgrnam(name);

		if (!group)
			return errno && errno != ESRCH ? -errno : -ENOENT;
		*ret_id = group->gr_gid;
	}
	return 0;
}

/* The name of this machine that looks most like `text`; false: there are none. */
static bool
perms_near(enum perms_kind kind, const char *text, char near[PERMS_NAME_MAX])
{
	char(*names)[PERMS_NAME_MAX] = calloc(PERMS_NAMES_MAX, sizeof(*names));
	const char *words[PERMS_NAMES_MAX];
	unsigned int n = 0;

	if (!names)
		return false;
	if (kind == PERMS_USER) {
		setpwent();
		for (const struct passwd *user; n < PERMS_NAMES_MAX && (user = getpwent()); n++)
			snprintf(names[n], sizeof(names[n]), "%s", user->pw_name);
		endpwent();
	} else {
		setgrent();
		for (const struct group *group; n < PERMS_NAMES_MAX && (group = getgrent()); n++)
			snprintf(names[n], sizeof(names[n]), "%s", group->gr_name);
		endgrent();
	}
	for (unsigned int i = 0; i < n; i++)
		words[i] = names[i];
	if (n)
		memcpy(near, nearest_word(text, words, n), PERMS_NAME_MAX);
	free(names);
	return n > 0;
}

int
perms_parse_id(enum perms_kind kind, const char *text, const char *what, struct perms_id *ret_id,
	       struct diag *diag)
{
	const size_t n_digits = strspn(text, "0123456789");
	char near[PERMS_NAME_MAX];
	uint32_t id = 0;
	int ret;

	if (n_digits && !text[n_digits]) {
		const unsigned long long number = strtoull(text, NULL, 10);

		/* The last one means "none" to the kernel. */
		if (number >= UINT32_MAX || n_digits > 10)
			return diag_set(diag, -ERANGE, "numbers of users and groups are less than 4294967295",
					"%s: %.32s is too large", what, text);
		*ret_id = (struct perms_id){.id = (uint32_t)number, .given = true};
		return 0;
	}
	ret = perms_find(kind, text, &id);
	if (ret == 0) {
		*ret_id = (struct perms_id){.id = id, .given = true};
		return 0;
	}
	if (ret != -ENOENT)
		return diag_set(diag, ret, "give its number", "%s: looking for %s '%.64s': %s", what,
				perms_words[kind], text, strerror(-ret));
	diag_set(diag, -ENOENT, NULL, "%s: there is no %s '%.64s' on this machine", what, perms_words[kind],
		 text);
	if (perms_near(kind, text, near))
		diag_hint(diag, "name another one, %s for example, or make it: %sadd --system %.64s", near,
			  perms_words[kind], text);
	else
		diag_hint(diag, "make it: %sadd --system %.64s", perms_words[kind], text);
	return -ENOENT;
}

int
perms_parse_mode(const char *text, const char *what, uint16_t *ret_mode, struct diag *diag)
{
	const size_t n_digits = strspn(text, "01234567");
	unsigned long mode = 0;

	if (n_digits && n_digits <= 4 && !text[n_digits])
		mode = strtoul(text, NULL, 8);
	if (!mode || mode > PERMS_MODE_MAX)
		return diag_set(diag, -EINVAL, "0660 (owner and group), 0600 or 0666: octal, at most 0777",
				"%s: '%.32s' is not the mode of a socket", what, text);
	if (!(mode & PERMS_WRITE))
		return diag_set(diag, -EINVAL, "0660: who connects needs the permission to write",
				"%s: with %.32s nobody can connect", what, text);
	*ret_mode = (uint16_t)mode;
	return 0;
}

int
perms_print_id(enum perms_kind kind, uint32_t id, char *buf, size_t size)
{
	const struct passwd *user = kind == PERMS_USER ? getpwuid(id) : NULL;
	const struct group *group = kind == PERMS_GROUP ? getgrgid(id) : NULL;

	if (user)
		return snprintf(buf, size, "%s", user->pw_name);
	if (group)
		return snprintf(buf, size, "%s", group->gr_name);
	return snprintf(buf, size, "%u", id);
}

void
perms_complete(struct perms *perms, const struct perms *defaults)
{
	if (!perms->owner.given)
		perms->owner = defaults->owner;
	if (!perms->group.given)
		perms->group = defaults->group;
	if (!perms->mode)
		perms->mode = defaults->mode;
}

int
perms_give(const struct perms *perms, int fd, const char *path, struct diag *diag)
{
	const uid_t uid = perms->owner.given ? perms->owner.id : (uid_t)-1;
	const gid_t gid = perms->group.given ? perms->group.id : (gid_t)-1;
	char user[PERMS_NAME_MAX], group[PERMS_NAME_MAX];
	int err;

	if (uid == (uid_t)-1 && gid == (gid_t)-1)
		return 0;
	if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0)
		return 0;
	err = errno;
	perms_print_id(PERMS_USER, perms->owner.id, user, sizeof(user));
	perms_print_id(PERMS_GROUP, perms->group.id, group, sizeof(group));
	diag_set(diag, -err, NULL, "%.128s: can't give it to %s%s%s%s%s: %s", path,
		 perms->owner.given ? "user " : "", perms->owner.given ? user : "",
		 perms->owner.given && perms->group.given ? " and " : "", perms->group.given ? "group " : "",
		 perms->group.given ? group : "", strerror(err));
	if (err == EPERM && !perms->owner.given)
		diag_hint(diag, "make the user that runs vnicd a member of group %s, or run it as root",
			  group);
	else if (err == EPERM)
		diag_hint(diag, "only root gives files away; name a group instead, or run vnicd as root");
	return -err;
}
