package hopsworksflink.aggregate;

/** Covariance, of which the pairs are a sample. */
public final class CovarSamp extends OfPairs {
    private static final long serialVersionUID = 1L;

    @Override
    Double result(Pairs pairs) {
        return pairs.count == 1 ? null : pairs.products / (pairs.count - 1);
    }
}
