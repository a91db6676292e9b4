// SPDX-License-Identifier: Apache-2.0

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Java's HttpClient: GETs each address and prints the bodies, a line each. Its sockets are AF_INET6, so IPv4 destinations are mapped ones. */
public class Http {
	public static void main(String[] urls) throws Exception {
		HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
		for (String url : urls) {
			HttpRequest request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(20)).build();
			System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
		}
		System.exit(0); // its threads would keep the process alive
	}
}
