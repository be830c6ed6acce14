/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fwd.h"
#include "keyval.h"
#include "nearest.h"

enum { FWD_CONFIG_MODES_MAX = 64 }; /* that a hint chooses from */

static struct key_set
config_set(const struct fwd_config *config)
{
	return (struct key_set){.rows = config->args ? config->mode->keys : NULL,
				.values = config->args,
				.given = config->given};
}

static int
config_no_mode(const char *word, struct diag *diag)
{
	const char *names[FWD_CONFIG_MODES_MAX];
	const struct fwd_mode *mode;
	unsigned int n = 0;
	char all[200];

	list_for_each(mode, fwd_modes()) {
		if (n < FWD_CONFIG_MODES_MAX)
			names[n++] = mode->name;
	}
	fwd_mode_names(all, sizeof(all));
	diag_set(diag, -EINVAL, NULL, "--forward-mode: no mode \"%.64s\"", word);
	diag_hint(diag, "did you mean --forward-mode %s? modes: %s", nearest_word(word, names, n), all);
	return -EINVAL;
}

int
fwd_config_parse(struct fwd_config *config, const char *line, struct diag *diag)
{
	struct keyval keyval;
	struct key_set set;
	char object[64], kind[64];
	int ret;

	memset(config, 0, sizeof(*config));
	ret = keyval_parse(&keyval, line, KEYVAL_UNNAMED, "--forward-mode", diag);
	if (ret < 0)
		return ret;
	config->mode = fwd_mode_by_name(keyval.kind);
	if (!config->mode) {
		ret = config_no_mode(keyval.kind, diag);
		goto out;
	}
	snprintf(object, sizeof(object), "--forward-mode %s", config->mode->name);
	snprintf(kind, sizeof(kind), "mode %s", config->mode->name);
	if (config->mode->args_size && !(config->args = calloc(1, config->mode->args_size))) {
		ret = diag_no_memory(diag, "%s: no memory", object);
		goto out;
	}
	set = config_set(config);
	ret = keys_init(&set);
	if (ret < 0)
		diag_set(diag, ret, NULL, "%s: no memory", object);
	else
		ret = keys_parse(&set, 1, &keyval, object, kind, config->mode->name, diag);
	config->given = set.given;
	if (ret == 0 && config->mode->check_args)
		ret = config->mode->check_args(config->args, diag);
out:
	keyval_free(&keyval);
	if (ret < 0)
		fwd_config_free(config);
	return ret;
}

void
fwd_config_free(struct fwd_config *config)
{
	struct key_set set = config_set(config);

	keys_free(&set);
	free(config->args);
	memset(config, 0, sizeof(*config));
}

size_t
fwd_config_demand(const struct fwd_config *config)
{
	return config->mode->demand ? config->mode->demand(config->args) : 0;
}

size_t
fwd_config_print(const struct fwd_config *config, char *buf, size_t size)
{
	struct key_set set = config_set(config);

	return keys_print(&set, buf, size, keyval_add(buf, size, 0, config->mode->name));
}
