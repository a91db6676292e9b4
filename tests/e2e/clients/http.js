// SPDX-License-Identifier: Apache-2.0

// Node's http: GETs each address and prints the bodies, a line each.
const http = require("http");

const get = (url) =>
	new Promise((resolve, reject) => {
		const request = http.get(url, { agent: false, timeout: 20000 }, (answer) => {
			let body = "";
			answer.setEncoding("utf8");
			answer.on("data", (more) => (body += more));
			answer.on("end", () => resolve(body));
		});
		request.on("timeout", () => request.destroy(new Error(`${url}: no answer`)));
		request.on("error", reject);
	});

(async () => {
	for (const url of process.argv.slice(1)) console.log(await get(url));
})();
