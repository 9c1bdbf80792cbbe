package hopsworksflink.join;

import java.io.Serializable;
import java.util.Map;

/** Asks for the offset of the last record that can be read, of each partition of a topic that has one. */
@FunctionalInterface
interface LastOffsets extends Serializable {
    Map<Integer, Long> get() throws Exception;
}
