/* SPDX-License-Identifier: Apache-2.0 */
/* Go's library functions: UTF-8, quoting, trimming, numbers, prefixes, each with Go's error texts.
 */
#include "agent/go_text.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define RUNE_ERROR	     0xfffd
#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

/* The character at s and its width; RUNE_ERROR of width 1 where s is not UTF-8. */
static uint32_t rune_at(const char *text, size_t *ret_width)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *s = (const unsigned char *)text;
	size_t n = *s < 0x80 ? 1 : *s < 0xc2 || *s > 0xf4 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
	uint32_t rune = n == 1 ? *s : *s & (0x7f >> n);

	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			n = 0; /* also at the end of the text: NUL is no continuation */
		else
			rune = rune << 6 | (s[i] & 0x3f);
	}
	if (!n || rune < least[n] || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) {
		*ret_width = 1;
		return RUNE_ERROR;
	}
	*ret_width = n;
	return rune;
}

struct span {
	uint32_t lo, hi;
};

static bool within(uint32_t rune, const struct span *spans, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (rune >= spans[i].lo && rune <= spans[i].hi)
			return true;
	return false;
}

/*
 * What strconv.IsPrint denies: controls, formats, spaces, private use. Characters that Unicode has
 * not assigned count as printable here and not in Go.
 */
/* clang-format off */
static const struct span unprintable[] = {
	{ 0, 0x1f }, { 0x7f, 0xa0 }, { 0xad, 0xad }, { 0x600, 0x605 }, { 0x61c, 0x61c },
	{ 0x6dd, 0x6dd }, { 0x70f, 0x70f }, { 0x890, 0x891 }, { 0x8e2, 0x8e2 }, { 0x1680, 0x1680 },
	{ 0x180e, 0x180e }, { 0x2000, 0x200f }, { 0x2028, 0x202f }, { 0x205f, 0x206f },
	{ 0x3000, 0x3000 }, { 0xd800, 0xf8ff }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb },
	{ 0xfffe, 0xffff }, { 0x110bd, 0x110bd }, { 0x110cd, 0x110cd }, { 0x1d173, 0x1d17a },
	{ 0xe0000, 0xe00ff }, { 0xe01f0, 0x10ffff },
};
static const struct span spaces[] = {
	{ '\t', '\r' }, { ' ', ' ' }, { 0x85, 0x85 }, { 0xa0, 0xa0 }, { 0x1680, 0x1680 },
	{ 0x2000, 0x200a }, { 0x2028, 0x2029 }, { 0x202f, 0x202f }, { 0x205f, 0x205f },
	{ 0x3000, 0x3000 },
};
/* clang-format on */

static void quote_unprintable(struct buf *b, uint32_t rune)
{
	static const char letters[] = "abtnvfr"; /* from 7 on */

	if (rune >= 7 && rune <= 13)
		buf_printf(b, "\\%c", letters[rune - 7]);
	else if (rune < ' ' || rune == 0x7f)
		buf_printf(b, "\\x%02x", rune);
	else
		buf_printf(b, rune < 0x10000 ? "\\u%04x" : "\\U%08x", rune);
}

static char *quote_n(const char *s, size_t len)
{
	_cleanup_free_ char *text = xasprintf("%.*s", (int)len, s);
	struct buf b = { 0 };
	size_t width;

	buf_str(&b, "\"");
	for (s = text; *s; s += width) {
		uint32_t rune = rune_at(s, &width);

		if (rune == RUNE_ERROR && width == 1)
			buf_printf(&b, "\\x%02x", (unsigned char)*s);
		else if (rune == '"' || rune == '\\')
			buf_printf(&b, "\\%c", (char)rune);
		else if (within(rune, unprintable, ARRAY_SIZE(unprintable)))
			quote_unprintable(&b, rune);
		else
			buf_add(&b, s, width);
	}
	buf_str(&b, "\"");
	return b.data;
}

char *go_quote(const char *text)
{
	return quote_n(text, strlen(text));
}

char *go_trim_space(const char *text)
{
	const char *first = NULL, *last = NULL;
	size_t width;

	for (const char *s = text; *s; s += width)
		if (!within(rune_at(s, &width), spaces, ARRAY_SIZE(spaces))) {
			first = first ?: s;
			last = s + width;
		}
	return first ? xasprintf("%.*s", (int)(last - first), first) : xstrdup("");
}

static int number_error(const char *function, const char *text, const char *error, char **ret_error)
{
	_cleanup_free_ char *quoted = go_quote(text);

	return fail(ret_error, "strconv.%s: parsing %s: %s", function, quoted, error);
}

int go_parse_bool(const char *text, bool *ret, char **ret_error)
{
	static const char *const words[] = { "1", "t", "T", "TRUE",  "true",  "True",
					     "0", "f", "F", "FALSE", "false", "False" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(words[i], text))
			continue;
		*ret = i < ARRAY_SIZE(words) / 2;
		return 0;
	}
	return ret_error ? number_error("ParseBool", text, "invalid syntax", ret_error) : -EINVAL;
}

int go_parse_uint(const char *text, unsigned int bits, uint64_t *ret, char **ret_error)
{
	uint64_t max = bits < 64 ? (1ULL << bits) - 1 : UINT64_MAX, n = 0;
	const char *s = text;

	do { /* the first bad character or the first excess decides, whichever comes first */
		if (*s < '0' || *s > '9')
			return number_error("ParseUint", text, "invalid syntax", ret_error);
		if (n > (max - (uint64_t)(*s - '0')) / 10)
			return number_error("ParseUint", text, "value out of range", ret_error);
		n = n * 10 + (uint64_t)(*s - '0');
	} while (*++s);
	*ret = n;
	return 0;
}

/* Why an address is none: Go shows the part of it, at..end, at which it gave up. */
struct addr_error {
	const char *msg; /* NULL: no error */
	const char *at;
	const char *end;
};

#define ADDR_OK ((struct addr_error){ .msg = NULL })

static struct addr_error stops(const char *msg, const char *at, const char *end)
{
	return (struct addr_error){ .msg = msg, .at = at, .end = end };
}

static struct addr_error says(const char *msg)
{
	return stops(msg, NULL, NULL);
}

static struct addr_error parse_v4(const char *start, const char *end, uint8_t ret[4])
{
	unsigned int value = 0, digits = 0, pos = 0;

	for (const char *s = start; s < end; s++) {
		if (*s == '.') {
			if (s == start || s == end - 1 || s[-1] == '.')
				return stops("IPv4 field must have at least one digit", s, end);
			if (pos == 3)
				return says("IPv4 address too long");
			ret[pos++] = (uint8_t)value;
			value = digits = 0;
			continue;
		}
		if (*s < '0' || *s > '9')
			return stops("unexpected character", s, end);
		if (digits++ == 1 && !value)
			return says("IPv4 field has octet with leading zero");
		value = value * 10 + (unsigned int)(*s - '0');
		if (value > 255)
			return says("IPv4 field has value >255");
	}
	if (pos < 3)
		return says("IPv4 address too short");
	ret[3] = (uint8_t)value;
	return ADDR_OK;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Up to four hexadecimal digits at *s, which moves behind them. */
static struct addr_error parse_group(const char **s, const char *end, uint8_t ret[2])
{
	const char *start = *s;
	unsigned int value = 0;

	for (; *s < end && hex_digit(**s) >= 0; (*s)++) {
		if (*s - start > 3)
			return stops("each group must have 4 or less digits", start, end);
		value = value << 4 | (unsigned int)hex_digit(**s);
	}
	if (*s == start)
		return stops("each colon-separated field must have at least one digit", start, end);
	ret[0] = (uint8_t)(value >> 8);
	ret[1] = (uint8_t)value;
	return ADDR_OK;
}

static const char misplaced_v4[] =
	"embedded IPv4 address must replace the final 2 fields of the address";
static const char too_many_fields[] =
	"too many hex fields to fit an embedded IPv4 at the end of the address";

static struct addr_error parse_embedded_v4(const char *s, const char *end, int ellipsis, int i,
					   uint8_t ip[16])
{
	if (ellipsis < 0 && i != 12)
		return stops(misplaced_v4, s, end);
	return i + 4 > 16 ? stops(too_many_fields, s, end) : parse_v4(s, end, ip + i);
}

/* The colon after a group; *ellipsis is where "::" was found. */
static struct addr_error parse_colon(const char **s, const char *end, int *ellipsis, int i)
{
	if (**s != ':')
		return stops("unexpected character, want colon", *s, end);
	if (end - *s == 1)
		return stops("colon must be followed by more characters", *s, end);
	if (*++*s != ':')
		return ADDR_OK;
	if (*ellipsis >= 0)
		return stops("multiple :: in address", *s, end);
	*ellipsis = i;
	++*s;
	return ADDR_OK;
}

static struct addr_error expand_ellipsis(uint8_t ip[16], int ellipsis, int i)
{
	if (i == 16 && ellipsis >= 0)
		return says("the :: must expand to at least one field of zeros");
	if (i < 16 && ellipsis < 0)
		return says("address string too short");
	if (i < 16) {
		memmove(ip + ellipsis + 16 - i, ip + ellipsis, (size_t)(i - ellipsis));
		memset(ip + ellipsis, 0, (size_t)(16 - i));
	}
	return ADDR_OK;
}

static struct addr_error parse_v6(const char *s, const char *end, uint8_t ip[16])
{
	struct addr_error error;
	int ellipsis = -1, i = 0;

	if (end - s >= 2 && s[0] == ':' && s[1] == ':') {
		ellipsis = 0;
		s += 2;
	}
	while (i < 16 && !(s == end && ellipsis == i)) { /* "::" may be the end */
		const char *start = s;

		error = parse_group(&s, end, ip + i);
		if (error.msg)
			return error;
		if (s < end && *s == '.') {
			error = parse_embedded_v4(start, end, ellipsis, i, ip);
			return error.msg ? error : expand_ellipsis(ip, ellipsis, i + 4);
		}
		i += 2;
		if (s == end)
			break;
		error = parse_colon(&s, end, &ellipsis, i);
		if (error.msg)
			return error;
	}
	if (s < end)
		return stops("trailing garbage after address", s, end);
	return expand_ellipsis(ip, ellipsis, i);
}

/* netip.ParseAddr of s..end. *ret_zone: an IPv6 zone is there, as in fe80::1%eth0. */
static struct addr_error parse_addr(const char *s, const char *end, uint8_t ip[16], bool *ret_v4,
				    bool *ret_zone)
{
	const char *p = s, *zone = memchr(s, '%', (size_t)(end - s));

	while (p < end && *p != '.' && *p != ':' && *p != '%')
		p++;
	*ret_v4 = p < end && *p == '.';
	*ret_zone = zone;
	if (p == end)
		return says("unable to parse IP");
	if (*ret_v4) {
		memcpy(ip, (uint8_t[12]){ [10] = 0xff, [11] = 0xff }, 12);
		return parse_v4(s, end, ip + 12);
	}
	if (*p == '%')
		return says("missing IPv6 address");
	if (zone && zone + 1 == end)
		return says("zone must be a non-empty string");
	return parse_v6(s, zone ?: end, ip);
}

static int prefix_error(const char *text, const char *msg, char **ret_error)
{
	_cleanup_free_ char *quoted = go_quote(text);

	return fail(ret_error, "netip.ParsePrefix(%s): %s", quoted, msg);
}

static int addr_error(const char *text, const char *slash, const struct addr_error *error,
		      char **ret_error)
{
	_cleanup_free_ char *in = quote_n(text, (size_t)(slash - text)), *at = NULL, *msg = NULL;

	if (error->at < error->end)
		at = quote_n(error->at, (size_t)(error->end - error->at));
	msg = xasprintf("ParseAddr(%s): %s%s%s%s", in, error->msg, at ? " (at " : "", at ?: "",
			at ? ")" : "");
	return prefix_error(text, msg, ret_error);
}

int go_parse_prefix(const char *text, struct weir_addr *ret_addr, unsigned int *ret_bits,
		    bool *ret_v4, char **ret_error)
{
	const char *slash = strrchr(text, '/'), *bits = slash ? slash + 1 : NULL;
	_cleanup_free_ char *ignored = NULL, *quoted = NULL, *msg = NULL;
	struct addr_error error;
	struct weir_addr addr;
	bool v4, zone;
	uint64_t n;

	if (!slash)
		return prefix_error(text, "no '/'", ret_error);
	error = parse_addr(text, slash, addr.ip, &v4, &zone);
	if (error.msg)
		return addr_error(text, slash, &error, ret_error);
	if (zone)
		return prefix_error(text, "IPv6 zones cannot be present in a prefix", ret_error);
	if ((bits[0] == '0' && bits[1]) || go_parse_uint(bits, 63, &n, &ignored) < 0) {
		quoted = go_quote(bits);
		msg = xasprintf("bad bits after slash: %s", quoted);
		return prefix_error(text, msg, ret_error);
	}
	if (n > (v4 ? 32 : 128))
		return prefix_error(text, "prefix length out of range", ret_error);
	*ret_addr = addr;
	*ret_bits = (unsigned int)n;
	*ret_v4 = v4;
	return 0;
}
