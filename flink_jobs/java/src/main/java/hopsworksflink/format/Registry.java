package hopsworksflink.format;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.TrustManagerFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * The schemas of a registry by their ids, each of which is asked for once: an id means the same schema for ever.
 *
 * <p>Of the API of Confluent's Schema Registry, which others speak as well, {@code GET /schemas/ids/ID}. A registry that does
 * not answer is no fault of a record: then reading fails, and the job begins again from its last checkpoint.
 */
public final class Registry implements Serializable {

    private static final long serialVersionUID = 1L;
    private static final Duration PATIENCE = Duration.ofSeconds(10);
    private static final int TRIES = 5;
    private static final long MISSING_MILLISECONDS = 60_000;

    private final String url;
    private final String authorization;
    private final String ca;
    private transient Map<Long, AvroType> known;
    private transient Map<Long, Missing> missing;
    private transient HttpClient client;

    /** What is wrong with the schema of an id, and until when it is not asked for again. */
    private record Missing(String reason, long until) {}

    /**
     * @param url of the API, without a slash at the end.
     * @param authorization header of each request; null: none.
     * @param ca certificates in PEM of those who vouch for the registry's; null: those that Java knows.
     */
    public Registry(String url, String authorization, String ca) {
        this.url = url;
        this.authorization = authorization;
        this.ca = ca;
    }

    /**
     * The schema of an id.
     *
     * @throws Undecodable the registry has none, or none that a record could be written with.
     */
    AvroType get(long id) throws Undecodable {
        if (known == null) {
            known = new HashMap<>();
            missing = new HashMap<>();
        }
        AvroType found = known.get(id);
        if (found != null) {
            return found;
        }
        Missing before = missing.get(id);
        if (before != null && before.until > System.currentTimeMillis()) {
            throw new Undecodable(before.reason);
        }
        try {
            found = parsed(id, ask(id));
        } catch (Undecodable problem) {
            // A stray producer may send many such records; a slow registry may learn the id.
            missing.put(id, new Missing(problem.getMessage(), System.currentTimeMillis() + MISSING_MILLISECONDS));
            throw problem;
        }
        known.put(id, found);
        return found;
    }

    private static AvroType parsed(long id, JsonNode answer) throws Undecodable {
        String kind = answer.path("schemaType").asText("AVRO");
        if (!kind.equals("AVRO")) {
            throw new Undecodable("schema " + id + " of the registry is of " + kind + ", not of Avro");
        }
        if (answer.path("references").size() > 0) {
            throw new Undecodable("schema " + id + " of the registry refers to others, which is not read");
        }
        try {
            return AvroType.parse(answer.path("schema").asText());
        } catch (IllegalArgumentException broken) {
            throw new Undecodable("schema " + id + " of the registry " + broken.getMessage());
        }
    }

    private JsonNode ask(long id) throws Undecodable {
        String what = "Schema " + id + " of the registry " + url + ": ";
        IOException last = null;
        try {
            for (int attempt = 0; attempt < TRIES; attempt++) {
                Thread.sleep(attempt == 0 ? 0 : 250L << attempt);
                try {
                    HttpResponse<String> answer = client().send(request(id), HttpResponse.BodyHandlers.ofString());
                    if (answer.statusCode() == 200) {
                        return new ObjectMapper().readTree(answer.body());
                    }
                    if (answer.statusCode() == 404) {
                        throw new Undecodable("the registry knows no schema " + id);
                    }
                    last = new IOException(what + "it answers " + answer.statusCode());
                    if (answer.statusCode() < 500 && answer.statusCode() != 429) {
                        break;
                    }
                } catch (IOException error) {
                    last = new IOException(what + error, error);
                    if (error instanceof SSLException) {
                        break; // another try meets the same certificate
                    }
                }
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            last = new IOException(what + "interrupted");
        }
        throw new UncheckedIOException(last);
    }

    private HttpRequest request(long id) {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(URI.create(url + "/schemas/ids/" + id)).timeout(PATIENCE);
        request.header("Accept", "application/vnd.schemaregistry.v1+json, application/json");
        if (authorization != null) {
            request.header("Authorization", authorization);
        }
        return request.build();
    }

    private HttpClient client() throws IOException {
        if (client == null) {
            HttpClient.Builder builder = HttpClient.newBuilder().connectTimeout(PATIENCE);
            if (ca != null) {
                builder.sslContext(trusting(ca));
            }
            client = builder.build();
        }
        return client;
    }

    private static SSLContext trusting(String pem) throws IOException {
        try {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            int number = 0;
            for (Certificate one :
                    CertificateFactory.getInstance("X.509")
                            .generateCertificates(new ByteArrayInputStream(pem.getBytes(StandardCharsets.US_ASCII)))) {
                store.setCertificateEntry("ca" + number++, one);
            }
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(store);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            return context;
        } catch (GeneralSecurityException error) {
            throw new IOException("the registry's CA certificate cannot be used: " + error.getMessage(), error);
        }
    }
}
