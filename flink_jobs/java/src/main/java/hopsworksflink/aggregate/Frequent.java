package hopsworksflink.aggregate;

/** Functions of all values of a window: of at most so many different ones, else there is no result. */
public abstract class Frequent extends OfValues {
    private static final long serialVersionUID = 1L;

    /** As `MOST_VALUES` of hopsworks_flink.pipeline.spec.aggregates. */
    private static final int MOST = 10_000;

    @Override
    void trim(Values values) {
        values.refuseBeyond(MOST);
    }
}
