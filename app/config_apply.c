/* SPDX-License-Identifier: BSD-3-Clause */
#include "config_apply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "dataplane.h"
#include "fwd.h"
#include "keyval.h"
#include "log.h"
#include "mirror.h"
#include "options.h"

enum { APPLY_TEXT_MAX = 4 << 20 }; /* bytes of a file */

static const struct options *apply_running;

void
config_apply_open(const struct options *options)
{
	apply_running = options;
}

/* --- what runs --- */

static size_t
text_print(char *buf, size_t size)
{
	size_t used = options_print(apply_running, buf, size);
	char line[KEYVAL_LINE_MAX];

	for (unsigned int i = 0; i < dataplane_n_ports(); i++) {
		port_config_print(dataplane_port(i)->config, line, sizeof(line));
		used = keyval_add(buf, size, used, "port ");
		used = keyval_add(buf, size, used, line);
		used = keyval_add(buf, size, used, "\n");
	}
	for (const struct mirror *mirror = mirrors_first(dataplane_mirrors()); mirror;
	     mirror = mirror_next(mirror)) {
		mirror_print(mirror, line, sizeof(line));
		used = keyval_add(buf, size, used, "mirror ");
		used = keyval_add(buf, size, used, line);
		used = keyval_add(buf, size, used, "\n");
	}
	return used;
}

char *
config_text(void)
{
	char *text = malloc(APPLY_TEXT_MAX);

	if (!text)
		return NULL;
	text[0] = '\0';
	if (text_print(text, APPLY_TEXT_MAX) >= APPLY_TEXT_MAX) {
		free(text);
		return NULL;
	}
	return text;
}

/* --- what is to be done --- */

enum change_what { CHANGE_PORT, CHANGE_MIRROR };
enum change_action { CHANGE_REMOVE, CHANGE_ADD, CHANGE_SET };

static const char *const what_words[] = {[CHANGE_PORT] = "port", [CHANGE_MIRROR] = "mirror"};

/* One step, and how to take it back: the line there was. */
struct change {
	enum change_what what;
	enum change_action action;
	bool is_half; /* of a replacement: the other half is another step */
	char *name, *was, *line;
};

struct changes {
	struct change *steps;
	unsigned int n;
};

static void
changes_free(struct changes *changes)
{
	for (unsigned int i = 0; i < changes->n; i++) {
		free(changes->steps[i].name);
		free(changes->steps[i].was);
		free(changes->steps[i].line);
	}
	free(changes->steps);
}

/* A NULL line is none. */
static int
changes_add(struct changes *changes, struct change step, struct diag *diag)
{
	struct change *steps = realloc(changes->steps, (changes->n + 1) * sizeof(*steps));

	if (!steps)
		return diag_no_memory(diag, "configuration: no memory");
	changes->steps = steps;
	step.name = strdup(step.name);
	step.was = step.was ? strdup(step.was) : NULL;
	step.line = step.line ? strdup(step.line) : NULL;
	steps[changes->n++] = step;
	if (!step.name || (step.action != CHANGE_ADD && !step.was) ||
	    (step.action != CHANGE_REMOVE && !step.line))
		return diag_no_memory(diag, "configuration: no memory");
	return 0;
}

static struct port_config *
wanted_port(const struct options *wanted, const char *name)
{
	for (unsigned int i = 0; i < wanted->n_ports; i++)
		if (strcmp(wanted->ports[i].name, name) == 0)
			return &wanted->ports[i];
	return NULL;
}

static struct port *
open_port(const char *name)
{
	for (unsigned int i = 0; i < dataplane_n_ports(); i++)
		if (strcmp(dataplane_port(i)->name, name) == 0)
			return dataplane_port(i);
	return NULL;
}

/* The name of a mirror's line ends where its pairs begin. */
static bool
mirror_is(const struct mirror *mirror, const char *line)
{
	const size_t len = strcspn(line, ",");

	return strlen(mirror_name(mirror)) == len && strncmp(mirror_name(mirror), line, len) == 0;
}

static const char *
wanted_mirror(const struct options *wanted, const struct mirror *mirror)
{
	for (unsigned int i = 0; i < wanted->n_mirrors; i++)
		if (mirror_is(mirror, wanted->mirrors[i]))
			return wanted->mirrors[i];
	return NULL;
}

/* Mirrors go first and come last: they name ports. */
static int
plan_mirrors_away(struct changes *changes, const struct options *wanted, struct diag *diag)
{
	char was[KEYVAL_LINE_MAX];
	int ret = 0;

	for (const struct mirror *mirror = mirrors_first(dataplane_mirrors()); mirror && ret == 0;
	     mirror = mirror_next(mirror)) {
		const char *line = wanted_mirror(wanted, mirror);

		mirror_print(mirror, was, sizeof(was));
		if (line && strcmp(line, was) == 0)
			continue;
		ret = changes_add(changes,
				  (struct change){.what = CHANGE_MIRROR,
						  .action = CHANGE_REMOVE,
						  .is_half = line != NULL,
						  .name = (char *)(uintptr_t)mirror_name(mirror),
						  .was = was},
				  diag);
	}
	return ret;
}

static int
plan_mirrors(struct changes *changes, const struct options *wanted, struct diag *diag)
{
	char was[KEYVAL_LINE_MAX], name[PORT_NAME_SIZE];
	int ret = 0;

	for (unsigned int i = 0; i < wanted->n_mirrors && ret == 0; i++) {
		const char *line = wanted->mirrors[i];
		const struct mirror *mirror = mirrors_first(dataplane_mirrors());

		for (; mirror && !mirror_is(mirror, line); mirror = mirror_next(mirror))
			;
		if (mirror)
			mirror_print(mirror, was, sizeof(was));
		if (mirror && strcmp(line, was) == 0)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(line, ","), line);
		ret = changes_add(changes,
				  (struct change){.what = CHANGE_MIRROR,
						  .action = CHANGE_ADD,
						  .is_half = mirror != NULL,
						  .name = name,
						  .line = (char *)(uintptr_t)line},
				  diag);
	}
	return ret;
}

/* Ports that go, and the first half of those that have to be opened anew. */
static int
plan_ports_away(struct changes *changes, const struct options *wanted, struct diag *diag)
{
	char was[KEYVAL_LINE_MAX];
	int ret = 0;

	for (unsigned int i = 0; i < dataplane_n_ports() && ret == 0; i++) {
		const struct port *port = dataplane_port(i);
		const struct port_config *as = wanted_port(wanted, port->name);

		if (as && port_config_can_become(port->config, as))
			continue;
		port_config_print(port->config, was, sizeof(was));
		ret = changes_add(changes,
				  (struct change){.what = CHANGE_PORT,
						  .action = CHANGE_REMOVE,
						  .is_half = as != NULL,
						  .name = (char *)(uintptr_t)port->name,
						  .was = was},
				  diag);
	}
	return ret;
}

static int
plan_ports(struct changes *changes, const struct options *wanted, struct diag *diag)
{
	char was[KEYVAL_LINE_MAX], line[KEYVAL_LINE_MAX];
	int ret = 0;

	for (unsigned int i = 0; i < wanted->n_ports && ret == 0; i++) {
		const struct port_config *as = &wanted->ports[i];
		const struct port *port = open_port(as->name);
		struct change step = {.what = CHANGE_PORT,
				      .action = CHANGE_ADD,
				      .is_half = port != NULL,
				      .name = (char *)(uintptr_t)as->name,
				      .line = line};

		port_config_print(as, line, sizeof(line));
		if (port && port_config_can_become(port->config, as)) {
			port_config_print(port->config, was, sizeof(was));
			if (strcmp(was, line) == 0)
				continue;
			step = (struct change){.what = CHANGE_PORT,
					       .action = CHANGE_SET,
					       .name = step.name,
					       .was = was,
					       .line = line};
		}
		ret = changes_add(changes, step, diag);
	}
	return ret;
}

static int
plan(struct changes *changes, const struct options *wanted, struct diag *diag)
{
	int ret = plan_mirrors_away(changes, wanted, diag);

	if (ret == 0)
		ret = plan_ports_away(changes, wanted, diag);
	if (ret == 0)
		ret = plan_ports(changes, wanted, diag);
	return ret < 0 ? ret : plan_mirrors(changes, wanted, diag);
}

/* --- doing it --- */

static int
do_port(enum change_action action, const char *name, const char *line, struct diag *diag)
{
	struct port_config config;
	int ret;

	if (action == CHANGE_REMOVE)
		return dataplane_port_remove(name, diag);
	ret = port_config_parse(&config, line, diag);
	if (ret < 0)
		return ret;
	ret = action == CHANGE_ADD ? dataplane_port_add(&config, NULL, diag)
				   : dataplane_port_become(open_port(name), &config, diag);
	port_config_free(&config);
	return ret < 0 ? ret : 0;
}

static int
do_step(enum change_what what, enum change_action action, const char *name, const char *line,
	struct diag *diag)
{
	struct mirror *mirror;

	if (what == CHANGE_PORT)
		return do_port(action, name, line, diag);
	return action == CHANGE_REMOVE ? mirrors_remove(dataplane_mirrors(), name, diag)
				       : mirrors_add(dataplane_mirrors(), line, &mirror, diag);
}

/* Takes back the first n steps, the last one first. What can't be is told: nothing more can be done about it.
 */
static void
undo(const struct changes *changes, unsigned int n)
{
	while (n--) {
		const struct change *step = &changes->steps[n];
		struct diag diag = {0};

		if (do_step(step->what,
			    step->action == CHANGE_REMOVE ? CHANGE_ADD
			    : step->action == CHANGE_ADD  ? CHANGE_REMOVE
							  : CHANGE_SET,
			    step->name, step->was, &diag) < 0)
			log_error(&dataplane_ctx()->log, "%s %s is not as it was before: %s",
				  what_words[step->what], step->name, diag.cause);
	}
}

static int
execute(const struct changes *changes, struct diag *diag)
{
	for (unsigned int i = 0; i < changes->n; i++) {
		const struct change *step = &changes->steps[i];
		int ret = do_step(step->what, step->action, step->name, step->line, diag);

		if (ret < 0) {
			undo(changes, i);
			return ret;
		}
	}
	return 0;
}

/* A replacement is told once, where its second half is. */
static json_t *
changes_json(const struct changes *changes)
{
	static const char *const words[] = {
		[CHANGE_REMOVE] = "remove", [CHANGE_ADD] = "add", [CHANGE_SET] = "set"};
	json_t *list = json_array();

	for (unsigned int i = 0; i < changes->n; i++) {
		const struct change *step = &changes->steps[i];

		if (step->is_half && step->action == CHANGE_REMOVE)
			continue;
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "what", what_words[step->what],
						      "name", step->name, "action",
						      step->is_half ? "replace" : words[step->action], "line",
						      step->line ? step->line : step->was));
	}
	return list;
}

int
config_apply(const char *text, bool is_dry, json_t **ret_changes, struct diag *diag)
{
	struct changes changes = {0};
	struct options wanted;
	int ret = options_parse_text(&wanted, "configuration", text, diag);

	if (ret == 0)
		ret = options_check_same(apply_running, &wanted, diag);
	if (ret == 0 && !wanted.fwd.mode)
		ret = fwd_config_parse(&wanted.fwd, apply_running->fwd.mode->name, diag);
	if (ret == 0)
		ret = options_parse_ports(&wanted, diag);
	if (ret == 0)
		ret = options_check_workers(&wanted, dataplane_n_workers(), diag);
	if (ret == 0)
		ret = plan(&changes, &wanted, diag);
	if (ret == 0 && !is_dry)
		ret = execute(&changes, diag);
	if (ret == 0)
		*ret_changes = changes_json(&changes);
	changes_free(&changes);
	options_free(&wanted);
	return ret;
}
