package hopsworksflink.aggregate;

import org.apache.flink.table.functions.AggregateFunction;

/** An aggregate function over pairs of numbers. A pair with null or NaN in it is left out. */
public abstract class OfPairs extends AggregateFunction<Double, Pairs> {
    private static final long serialVersionUID = 1L;

    /** As of deviations: `_LARGEST_DOUBLE` of hopsworks_flink.pipeline.spec.aggregates. */
    private static final double LARGEST = 1e150;

    abstract Double result(Pairs pairs);

    @Override
    public Pairs createAccumulator() {
        return new Pairs();
    }

    /** For Flink: add the pair of one event. */
    public void accumulate(Pairs pairs, Double x, Double y) {
        if (x == null || y == null || x.isNaN() || y.isNaN()) {
            return;
        }
        if (Math.abs(x) < LARGEST && Math.abs(y) < LARGEST) {
            pairs.add(x, y);
        } else {
            pairs.beyond = true;
        }
    }

    /** For Flink: add what was kept elsewhere. */
    public void merge(Pairs into, Iterable<Pairs> others) {
        others.forEach(into::add);
    }

    @Override
    public Double getValue(Pairs pairs) {
        return pairs.beyond || pairs.count == 0 ? null : result(pairs);
    }
}
