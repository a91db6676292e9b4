// SPDX-License-Identifier: Apache-2.0

// c-ares, as Node has it: questions for A and AAAA at a time, no search list. See resolve.c for what it prints.
const { resolve4, resolve6 } = require("dns").promises;

const ABSENT = new Set(["ENODATA", "ENOTFOUND"]);
const none = (error) => {
	if (ABSENT.has(error.code)) return [];
	throw error;
};
const resolve = async (name) => {
	const found = (await Promise.all([resolve4(name).catch(none), resolve6(name).catch(none)])).flat();
	return found.length ? found : "not found";
};

(async () => {
	const got = {};
	for (const name of process.argv.slice(1)) got[name] = await resolve(name).catch((error) => error.code);
	console.log(JSON.stringify(got));
})();
