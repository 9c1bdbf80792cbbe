package hopsworksflink.aggregate;

/** Covariance of all pairs. */
public final class CovarPop extends OfPairs {
    private static final long serialVersionUID = 1L;

    @Override
    Double result(Pairs pairs) {
        return pairs.products / pairs.count;
    }
}
