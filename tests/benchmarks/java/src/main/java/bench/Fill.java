package bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes seeded transactions, as fast as the broker takes them, and prints the sums that any right job must find.
 * Event n of a seed is always the same event; they are out of order by less than the pipeline's disorder.
 */
public final class Fill {
    private static final int DISORDER = 4_500;

    public static void main(String[] words) throws Exception {
        Arguments arguments = new Arguments(words);
        String topic = arguments.get("--topic");
        long events = arguments.number("--events");
        long cards = arguments.number("--cards");
        long start = arguments.number("--start");
        double step = 1000.0 / arguments.number("--rate");
        int partitions = (int) arguments.number("--partitions");
        AtomicReference<Exception> failure = new AtomicReference<>();
        double sum = 0;
        try (KafkaProducer<byte[], byte[]> producer = producer(arguments.get("--brokers"))) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(bytes, null);
            for (long n = 0; n < events; n++) {
                long random = mix(n);
                long card = Math.floorMod(random, cards);
                long arrival = start + (long) (n * step);
                long time = arrival - Math.floorMod(mix(random), DISORDER);
                // Cents, and exact as a double: sums do not depend on their order by more than rounding.
                double amount = Math.floorMod(mix(random + 1), 100_000) / 100.0;
                sum += amount;
                bytes.reset();
                encode(encoder, n, time, card, amount);
                byte[] key = Headers.bytes(Long.toString(card));
                producer.send(
                        new ProducerRecord<>(topic, (int) (card % partitions), arrival, key, bytes.toByteArray()),
                        (sent, error) -> {
                            if (error != null) {
                                failure.compareAndSet(null, error);
                            }
                        });
            }
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        System.out.printf("{\"events\": %d, \"amount\": %.4f}%n", events, sum);
    }

    private static void encode(BinaryEncoder encoder, long n, long time, long card, double amount)
            throws IOException {
        encoder.writeIndex(1);
        encoder.writeString("1-" + n);
        encoder.writeIndex(1);
        encoder.writeLong(time);
        encoder.writeIndex(1);
        encoder.writeLong(4_444_000_000_000_000L + card);
        encoder.writeIndex(1);
        encoder.writeDouble(amount);
        encoder.flush();
    }

    private static KafkaProducer<byte[], byte[]> producer(String brokers) {
        Properties properties = new Properties();
        properties.setProperty("bootstrap.servers", brokers);
        properties.setProperty("linger.ms", "20");
        properties.setProperty("batch.size", "262144");
        properties.setProperty("buffer.memory", "67108864");
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** SplitMix64's finalizer: consecutive numbers become independent looking ones. */
    static long mix(long x) {
        long z = x + 0x9E3779B97F4A7C15L;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    private Fill() {}
}
