/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup_name.h"

#include <ctype.h>
#include <string.h>

/* A UUID, or the 32 digits of a static pod's hash; the systemd driver writes "_" for "-". */
static bool copy_uid(const char *text, size_t len, char ret_uid[POD_UID_MAX])
{
	size_t digits = 0;

	if (len < 32 || len >= POD_UID_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool digit = isxdigit((unsigned char)text[i]);

		if (!digit && text[i] != '-' && text[i] != '_')
			return false;
		digits += digit;
		ret_uid[i] = text[i] == '_' ? '-' : text[i];
	}
	ret_uid[len] = '\0';
	return digits == 32;
}

/* The last "-pod" in s, or NULL: a prefix may hold one as well. */
static const char *last_pod(const char *s)
{
	const char *found = NULL;

	for (const char *p = strstr(s, "-pod"); p; p = strstr(p + 1, "-pod"))
		found = p;
	return found;
}

bool cgroup_name_pod(const char *name, char ret_uid[POD_UID_MAX])
{
	static const char slice[] = ".slice";
	size_t len = strlen(name);
	const char *at;

	if (!strncmp(name, "pod", 3))
		return copy_uid(name + 3, len - 3, ret_uid);
	if (len <= strlen(slice) || strcmp(name + len - strlen(slice), slice) != 0)
		return false;
	at = last_pod(name);
	if (!at)
		return false;
	at += strlen("-pod");
	return copy_uid(at, len - strlen(slice) - (size_t)(at - name), ret_uid);
}

bool cgroup_name_is_monitor(const char *name)
{
	return !strncmp(name, "crio-conmon-", strlen("crio-conmon-"));
}
