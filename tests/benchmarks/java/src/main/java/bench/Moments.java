package bench;

/** Count, mean and squared deviations of amounts, by Welford's recurrence; mergeable. Flink serializes it as a POJO. */
public class Moments {
    public long events;
    public long values;
    public double mean;
    public double squares;

    public Moments() {}

    void add(Double amount) {
        events++;
        if (amount != null) {
            values++;
            double delta = amount - mean;
            mean += delta / values;
            squares += delta * (amount - mean);
        }
    }

    void add(Moments other) {
        events += other.events;
        if (other.values > 0) {
            long total = values + other.values;
            double delta = other.mean - mean;
            squares += other.squares + delta * delta * values / total * other.values;
            mean += delta * other.values / total;
            values = total;
        }
    }

    Double average() {
        return values == 0 ? null : Double.valueOf(mean);
    }

    Double deviation() {
        return values < 2 ? null : Double.valueOf(Math.sqrt(squares / (values - 1)));
    }
}
